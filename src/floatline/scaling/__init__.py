"""Loss scaling that never fails silently: scales, an optimizer around optimizers, custom loops."""
