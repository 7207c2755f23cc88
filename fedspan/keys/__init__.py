"""Master keys, which wrap the data keys that credentials are sealed with (`base.MasterKey`): a
file of the embedded default, AWS KMS, Google's Cloud KMS."""
