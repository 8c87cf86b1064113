"""What `make` runs: the environment, the tests of all runners, the mutants. Not part of the product."""
