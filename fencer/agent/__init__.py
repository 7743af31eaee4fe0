"""The fence agent: options → plan → execute → verdict → report."""
