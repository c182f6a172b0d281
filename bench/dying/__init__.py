"""What stays behind when programs and containers end without a word; for `bench/reliability.py`."""
