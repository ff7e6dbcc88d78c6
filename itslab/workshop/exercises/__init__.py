"""The exercises of each session: right solutions, plausible wrong ones, hints."""
