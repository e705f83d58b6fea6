"""Evaluations: what a vector does to its model, beside every other way to ask for the pole, and what it costs.

questions.toml  facts, and instructions that a rule can check: what steering costs is read off them
rules           whether an answer states a fact, and whether it follows an instruction
verdict         from what was found to one word: whether the pole can be had from this model
options         how much is asked
asked           everything that is asked, as generations for the engine
judging         who scores the answers, a second judge too
figures         from scores to what is kept with the vector
run             one evaluation from beginning to end
report          figures to read, and in files
"""
