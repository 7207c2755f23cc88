"""One use case a file. Each loads, lets the domain decide, and writes conditionally; a repeat is
answered as the first was, because Lambdas run twice and reports arrive twice."""
