"""The intermediate representation: typed SSA with symbolic dimensions and nested graphs."""
