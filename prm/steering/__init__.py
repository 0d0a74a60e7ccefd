"""Steering the sampling of tokens by a value: the engine `steered` (`engine`), and what it is made of."""
