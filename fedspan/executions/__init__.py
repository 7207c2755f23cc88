"""Running the state machine of a job: AWS Step Functions, or its interpreter in this process."""
