"""A model of the platform in virtual time, on which the product's own selectors are tried."""
