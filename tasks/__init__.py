"""Problems, answers and grading: maths, countdown, readers of real data sets, seeded generators."""
