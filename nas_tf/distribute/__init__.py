"""Several processes that train one network: who they are, how they agree, what they add up."""
