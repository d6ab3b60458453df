"""Tiny tokenizers for the fixture checkpoints: single characters, no merges, each family's special tokens."""

import json
from string import ascii_lowercase

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
EXTRA = list(".,!?'-012")


def byte_level(specials, size):
    """Byte-level BPE of `size` entries: four specials first, then the space, a-z and some signs."""
    tokens = [*specials, "Ġ", *ascii_lowercase, *EXTRA, "Ċ"]
    tokens += [f"<extra_{i}>" for i in range(size - len(tokens))]
    vocab = {token: i for i, token in enumerate(tokens[:size])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(specials))
    return tokenizer


def word_piece(size):
    """WordPiece of `size` entries, lower-casing, [CLS] text [SEP]."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *ascii_lowercase, *(f"##{c}" for c in ascii_lowercase), *EXTRA]
    vocab = {token: i for i, token in enumerate(tokens[:size])}
    tokenizer = Tokenizer(models.WordPiece(vocab=vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_special_tokens(tokens[:4])
    return tokenizer


def write_tokenizer(folder, kind, size, model_max_length):
    """Writes tokenizer.json and tokenizer_config.json of `kind` gpt2, llama, chatml, bert or roberta."""
    config = {"model_max_length": model_max_length, "clean_up_tokenization_spaces": False}
    if kind == "bert":
        tokenizer = word_piece(size)
        config |= {"tokenizer_class": "BertTokenizer", "pad_token": "[PAD]", "unk_token": "[UNK]"}
        config |= {"cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": None}
    else:
        specials = {
            "gpt2": ("<pad>", "<|endoftext|>", "<unused>", "<unk>"),
            "llama": ("<pad>", "<s>", "</s>", "<unk>"),
            "chatml": ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<unk>"),
            "roberta": ("<s>", "<pad>", "</s>", "<unk>"),
        }[kind]
        bos, eos, pad = {
            "gpt2": (None, specials[1], specials[0]),
            "llama": ("<s>", "</s>", "<pad>"),
            "chatml": ("<|im_start|>", "<|im_end|>", "<|im_end|>"),
            "roberta": ("<s>", "</s>", "<pad>"),
        }[kind]
        tokenizer = byte_level(specials, size)
        if kind == "roberta":
            tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
        if kind == "llama":
            tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        config |= {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": bos, "eos_token": eos}
        config |= {"pad_token": pad, "unk_token": "<unk>"}
        if kind == "chatml":
            config["chat_template"] = CHAT_TEMPLATE
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
