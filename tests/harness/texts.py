"""What hypothesis makes texts of."""

from hypothesis import strategies as st

CHARACTERS = st.characters(exclude_categories=["Cs"])
"""All characters but surrogates: what `st.text` has by default, but takes 2 s to find out."""
