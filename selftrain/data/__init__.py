"""Training data made of searched trees: records, builders, exports, decontamination, monitors."""
