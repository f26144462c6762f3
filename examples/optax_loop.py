"""An optax loop in JAX: the scale is part of the optimizer's state. Beside it: `lrwatch run --mode auto runs/optax_loop`.

A new scale compiles nothing, and it is in every checkpoint of `opt_state`.
"""

import jax
import jax.numpy as jnp
import optax

import lrwatch

STEPS = 200

optimizer = lrwatch.optax.scaled(optax.adamw)(optax.cosine_decay_schedule(0.05, STEPS))
params = jnp.zeros(8)
opt_state = optimizer.init(params)


@jax.jit
def train_step(params, opt_state, x):  # type: ignore[no-untyped-def]
    """Take one step, and return what changed with the loss."""
    loss, gradient = jax.value_and_grad(lambda w: jnp.mean((x @ w - x.sum(1)) ** 2))(params)
    updates, opt_state = optimizer.update(gradient, opt_state, params)
    return optax.apply_updates(params, updates), opt_state, loss


with lrwatch.attach(None, "runs/optax_loop/lrwatch", total_steps=STEPS) as watch:
    for key in jax.random.split(jax.random.key(0), STEPS):
        opt_state = lrwatch.optax.follow(watch, opt_state)  # outside of what is compiled
        params, opt_state, loss = train_step(params, opt_state, jax.random.normal(key, (32, 8)))
        watch.step(loss=loss)

print(f"{STEPS} steps, final loss {float(loss):.4f}")
