"""Loop nests for groups without a contraction."""
