"""PyTorch + transformers peer of the whole online micro-step, GPT-2-small as attacker and target, fp32, random weights.

python bench/peers/micro_step.py --mode research|best   (protocol.py says how it is driven)
One run: sample 16 x 20 tokens from the attacker, log p_ref of them with the adapter off, 5 responses of 30 tokens to
each from the target, a RoBERTa-base-shaped judge on 80 texts of attack and response, and the training step.
`research` judges one text at a time and recomputes the meta-prompt for every row, as the public research code does;
`best` judges in one batch, shares the meta-prompt, and prefills each attack once. Adds `phases`: seconds of each.
Token ids pass from model to model as they are: no tokenizer is timed.
"""

import time

import torch
from gpt2_step import LOSSES, SMALL, Attacker, Shape, best_log_probs, gpt2_of, research_log_probs
from protocol import peer_arguments, serve
from transformers import DynamicCache, RobertaConfig, RobertaForSequenceClassification

RESPONSES, RESPONSE_TOKENS = 5, 30
SAMPLING = {"do_sample": True, "top_k": 0}
TARGET_SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.95, "top_k": 0}


def judge_of(is_small):
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config = RobertaConfig(
        vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, num_labels=2, **(shape if is_small else {}),
    )  # fmt: skip
    return RobertaForSequenceClassification(config).eval()


def exactly(tokens, vocab):
    """Generation settings that write exactly `tokens` tokens."""
    return {"max_new_tokens": tokens, "min_new_tokens": tokens, "pad_token_id": vocab - 1}


class MicroStep:
    def __init__(self, mode, is_small):
        self.shape = SMALL if is_small else Shape()
        self.mode = mode
        self.attacker = Attacker(self.shape)
        self.target = gpt2_of(self.shape).eval()
        self.judge = judge_of(is_small)

    def sample(self, prompt):
        s, model = self.shape, self.attacker.model
        ids = prompt.expand(s.batch, -1)
        out = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **SAMPLING, **exactly(s.tokens, s.vocab)
        )
        return out[:, len(prompt) :]

    def reference(self, prompt, attacks):
        if self.mode == "best":
            return best_log_probs(self.attacker, prompt, attacks, with_lora=False)[0]
        with self.attacker.model.disable_adapter():
            return research_log_probs(self.attacker, prompt, attacks)

    def respond(self, attacks):
        """Responses [B * 5, 30]."""
        length, vocab = attacks.shape[1], self.shape.vocab
        ids, extra = attacks.repeat_interleave(RESPONSES, 0), {}
        if self.mode == "best":
            cache = DynamicCache(config=self.target.config)
            self.target(input_ids=attacks[:, :-1], past_key_values=cache, logits_to_keep=1)
            cache.batch_repeat_interleave(RESPONSES)
            extra = {"past_key_values": cache}
        out = self.target.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), **TARGET_SAMPLING, **exactly(RESPONSE_TOKENS, vocab), **extra
        )
        return out[:, length:]

    def score(self, attacks, responses):
        texts = torch.cat([attacks.repeat_interleave(RESPONSES, 0), responses], 1)
        edge = lambda token: torch.full((len(texts), 1), token)
        texts = torch.cat([edge(0), texts.clamp(min=4), edge(2)], 1)
        batches = [texts] if self.mode == "best" else texts.split(1)
        logits = torch.cat([self.judge(input_ids=b, attention_mask=torch.ones_like(b)).logits for b in batches])
        return logits.log_softmax(-1)[:, 1].view(-1, RESPONSES).mean(-1)

    def run(self, index):
        torch.manual_seed(index)
        prompt = self.attacker.inputs(index)[0]
        phases, marks = {}, [time.perf_counter()]

        def mark(name):
            marks.append(time.perf_counter())
            phases[name] = marks[-1] - marks[-2]

        self.attacker.model.eval()
        with torch.no_grad():
            attacks = self.sample(prompt)
            mark("sampling")
            log_reference = self.reference(prompt, attacks)
            mark("reference")
            responses = self.respond(attacks)
            mark("target")
            log_scores = self.score(attacks, responses)
            mark("judge")
        self.attacker.model.train()
        log_rewards = log_reference + log_scores / 0.1
        loss = self.attacker.update(LOSSES[self.mode](self.attacker, prompt, attacks, log_rewards))
        mark("training")
        assert responses.shape == (self.shape.batch * RESPONSES, RESPONSE_TOKENS), responses.shape
        return {"loss": loss, "phases": phases}


def main():
    modes = ("--mode", {"choices": ["research", "best"], "required": True})
    arguments = peer_arguments(__doc__.splitlines()[0], modes)
    torch.set_num_threads(arguments.threads)
    step = MicroStep(arguments.mode, arguments.small)
    settings = vars(arguments) | {"shape": vars(step.shape), "responses": RESPONSES, "responseTokens": RESPONSE_TOKENS}
    serve(f"micro-step-{arguments.mode}", ["torch", "transformers", "peft"], settings, step.run)


if __name__ == "__main__":
    main()
