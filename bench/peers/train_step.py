"""PyTorch peer of the LoRA training step: GPT-2-small shape, 16 x 20 tokens after 56, fp32, random weights.

python bench/peers/train_step.py --mode research|best|best-compiled   (protocol.py says how it is driven)
One run is forward, backward, clipping and the AdamW update; it adds `loss`.
"""

import torch
from gpt2_step import LOSSES, SMALL, Attacker, Shape
from protocol import peer_arguments, serve


def main():
    modes = ("--mode", {"choices": ["research", "best", "best-compiled"], "required": True})
    arguments = peer_arguments(__doc__.splitlines()[0], modes)
    torch.set_num_threads(arguments.threads)
    shape = SMALL if arguments.small else Shape()
    attacker = Attacker(shape)
    attacker.model.train()
    loss_of = LOSSES[arguments.mode.split("-")[0]]
    if arguments.mode == "best-compiled":
        loss_of = torch.compile(loss_of)

    def run(index):
        return {"loss": attacker.update(loss_of(attacker, *attacker.inputs(index)))}

    settings = vars(arguments) | {"shape": vars(shape)}
    serve(f"train-step-{arguments.mode}", ["torch", "transformers", "peft"], settings, run)


if __name__ == "__main__":
    main()
