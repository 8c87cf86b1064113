"""Demo data: the tables of words and the generator that draws records from them."""
