"""Annealed importance sampling with Hamiltonian transitions."""
