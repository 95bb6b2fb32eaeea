"""All networks of a space with shared weights, and the steps that train and judge them."""
