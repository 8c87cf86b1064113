"""What the benchmarks share: a stack of their own, a load client that is not the limit, accounts, and checks."""
