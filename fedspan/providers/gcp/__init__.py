"""Google Compute Engine, by REST.

Google's client library (``google-cloud-compute``) loads all of Compute for the dozen calls made
here: `benchmarks/gcp_clients.py` measures both. google-auth signs; requests carries. Its
``AuthorizedSession`` is not used, because it also asks ``iamcredentials.googleapis.com``, in a
thread of its own and whatever endpoint is set, where the account may act, for which it sends our
token there. A key makes its own tokens (self-signed JWTs), as Google's clients do.

A machine is an instance and two firewall rules, all named from its key. Rules cost nothing and
instances do, so the rules come first and go last: what is left of a machine is always seen. One
rule opens the port, below it one closes all else, as networks named ``default`` let SSH in from
everywhere. The id of that second rule, new for each life of a key, is what the `requestId` of an
insert derives from. So a launch that is repeated finds what became of its first insert, its failure
too; and a key that is launched again after its machine has gone, rules and all, makes a new one.
"""
