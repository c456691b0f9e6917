"""The passes that make a module smaller without changing what it computes, and the pipeline of them all."""
