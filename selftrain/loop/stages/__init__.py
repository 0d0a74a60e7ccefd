"""The stages of an iteration, one module each: what a stage reads, is told and makes.

Contract: each module has one coroutine of the stage's name. It puts together the stage's inputs (hashes of
what it reads), settings and seed, and hands `Context.stage` the work that makes its outputs. Nothing else
decides whether a stage is run.
"""
