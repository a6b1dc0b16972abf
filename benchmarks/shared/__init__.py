"""What benchmarks share: turns and their times, the machine, results, and what is measured."""
