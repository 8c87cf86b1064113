"""The benchmark suite: what `branchline bench` runs. Not part of the installed product."""
