"""The search: what is asked, what moves, what it descends, and which network comes out."""
