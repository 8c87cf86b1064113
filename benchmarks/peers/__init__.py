"""Other systems that carry the same work, to measure beside: each small, with its documented best settings."""
