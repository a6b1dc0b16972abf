"""How draws of a latent variable carry gradients to the parameters of its distribution."""
