"""Golden values of the tokenizers, and the tiny tokenizer fixtures.

Writes test/fixtures/tokenizers/<name>/ (tiny tokenizers of each family's shape, trained by the Python `tokenizers`
library) and test/golden/models/tokenizer-<name>.json (ids and decoded texts of a hard list, sums over
all code points, chat prompts).
Made with Python 3.11, tokenizers 0.23.3, transformers 5.23.0, gguf 0.19.0; seed 20261124.
The WordPiece and Unigram trainers order ties by chance: their fixtures change with each run, the golden files with them.
Run in a virtual environment with these three packages:
    python lab/golden/tokenizer_ids.py SMOLLM2_GGUF MINILM_FOLDER
SmolLM2's tokenizer is built here from the GGUF's lists with the pre-tokenizers of the original model's tokenizer.json
(single digits, then byte level): loading a GGUF through transformers leaves the digit split out.
"""

import hashlib
import json
import random
import sys
import unicodedata
from importlib.metadata import version
from pathlib import Path

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

ROOT = Path(__file__).resolve().parents[2]
SEED = 20261124
VERSIONS = {name: version(name) for name in ("tokenizers", "transformers", "gguf")}

HARD_TEXTS = [
    "", " ", "  ", "a", "Hello, world!", " leading and trailing  ", "don't can't I'LL we'Ve THEY'RE it's 'tis",
    "tabs\tand\nnew\r\nlines\n\n\n\r\r end\t\t", "a  1   22 333 4444 55555 3.14159 1,000,000 0x1F 1e-9",
    "x\u00a0y\u2003z\u3000w\u200bv\ufeffu\u0085t\u2028s", "\u0000nul\u0001\u0002\u001b[31mred\u007f\u0080\u009f",
    "😀😃🙈👍🏽🇩🇪🏳️‍🌈👩‍👩‍👧‍👦👨🏿‍🚀", "漢字とカタカナとひらがな、中文标点。한국어 테스트 𠀀𪜀", "مرحبا بالعالم ١٢٣ السَّلامُ عليكم",
    "नमस्ते दुनिया १२३ क्षत्रिय", "e\u0301 é n\u0303 ñ a\u0300\u0301\u0302\u0303 Z\u0351\u036b\u0343\u036a\u0302algo",
    "Ελληνικά ΟΔΥΣΣΕΥΣ Σ ΑΣ σας İstanbul ıI ẞß ŒÆ ǅ", "Привет, мир! Ёлка ёж", "שלום עולם שָׁלוֹם", "สวัสดีชาวโลก ภาษาไทย",
    "½ ² ³ ¼ ①②③ Ⅷ ⅷ 五 ௧௨ 𝟘𝟙 ٣", "fi ﬁ ﬂ ﬀ Å Å Ω Ω ｆｕｌｌ　ｗｉｄｔｈ", "!!!???...---***((([[[{{{<<<>>>}}}]]])))~~~``` €£¥ ©®™ «» “” ‘’ …",
    "def f(x):\n    return x**2 + 1  # comment\n\n\tif x != None:\n\t\tpass", "MiXeD cAsE camelCase snake_case SCREAMING_CASE kebab-case",
    "https://example.org/a?b=c&d=e#f user@example.org C:\\path\\file.txt", "$1 $& $$ \\1 \\n %s {0} ${x}",
    "   many     spaces          here                    end", "\n \n  \n   \t \r\n \r\r\n", "\ufffd\ufffe\uffff\U0010ffff\ue000\U000f0000",
    "word'word 'quoted' ''double'' 's 't 'LL ’s ’t", "a" * 101 + " " + "b" * 99, "ab-cd_ef.gh/ij|kl", "don' t . , ? ! n't 'm",
    "<|im_start|>user\nhi<|im_end|>", "<|endoftext|><|im_end|> <|im_end|>x", "<s> a <mask> b </s><pad>", "[CLS] x [SEP] [MASK] [PAD]",
    "<|begin_of_text|>x<|eot_id|>\n\n<tool_call>{}</tool_call>", "<|im_end| >< |im_end|><|IM_END|>",
    "\ufeffbyte order mark", "foxes fox firefox fox_ fox trailing  x",
]
LONG_TEXTS = [
    ("a", 100_000), ("antidisestablishmentarianism", 3_600), (" ", 100_000), ("\n", 100_000), ("7", 100_000), ("!", 100_000),
    ("漢字", 17_000), ("👩‍👩‍👧‍👦", 4_000), (" \n", 50_000), ("'", 100_000), ("The quick brown fox, 42 times. ", 3_300),
]
CHATS = [
    [("user", "Hello!")],
    [("system", "Be brief."), ("user", "  What is 2+2?\n"), ("assistant", "4"), ("user", "And 漢字 😀?")],
    [("user", ""), ("assistant", "..."), ("user", "a <b> | c |> <| d")],
]

CORPUS = [
    "The quick brown fox jumps over the lazy dog. She sells sea shells by the sea shore, doesn't she?",
    "It's 1999 and we're 42 years old; they'll say that 3.14 isn't 22/7. I've seen it, I'd say, I'm sure.",
    "def f(x):\n    return x + 1\n\nfor i in range(100):\n    print(i)\n", "漢字 かな カナ 中文 한국어 中文 漢字",
    "Привет мир привет мир", "مرحبا بالعالم مرحبا", "नमस्ते दुनिया नमस्ते", "😀😀👍👍", "é é ñ ñ über straße naïve café café",
    "user assistant system user assistant system question answer question answer the the the and and of of to to in in",
] * 4

LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2_SPLIT = LLAMA3_SPLIT.replace("{1,3}", "")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3_CHAT = (
    "{{- bos_token }}{% for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)


def train_bpe(tokenizer, size, byte_alphabet=True):
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_alphabet else []
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def split_then_bytes(pattern):
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2_like():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    train_bpe(tokenizer, 500).add_special_tokens(["<|endoftext|>"])
    return tokenizer, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}


def llama3_like():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = split_then_bytes(LLAMA3_SPLIT)
    tokenizer.decoder = decoders.ByteLevel()
    train_bpe(tokenizer, 500)
    tokenizer.add_special_tokens(
        ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>"]
    )
    bos = tokenizer.token_to_id("<|begin_of_text|>")
    template = processors.TemplateProcessing(single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", bos)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer, {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>", "chat_template": LLAMA3_CHAT}


def qwen2_like():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split_then_bytes(QWEN2_SPLIT)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    train_bpe(tokenizer, 500).add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False)])
    return tokenizer, {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML}


def roberta_like():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    train_bpe(tokenizer, 500).add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
    tokenizer.add_tokens([AddedToken("fox", single_word=True), AddedToken("trailing", rstrip=True)])
    ends = [("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>"))]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=False)
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>"}
    return tokenizer, roles


def llama2_like():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, max_token_length=6, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    fields = json.loads(tokenizer.to_str())
    fields["added_tokens"] = [token for token in fields["added_tokens"] if token["content"] in special[:3]]
    tokenizer = Tokenizer.from_str(json.dumps(fields))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer, {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def pieces_like():
    """WordPiece behind the remaining pre-tokenizers and normalizers."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\.{3}"), "$1"), normalizers.Strip()]
    )
    split = pre_tokenizers.Split("-", behavior="merged_with_previous")
    digits = pre_tokenizers.Digits(individual_digits=False)
    steps = [pre_tokenizers.WhitespaceSplit(), split, pre_tokenizers.Punctuation("contiguous"), digits]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer, {"unk_token": "[UNK]", "sep_token": "[SEP]", "cls_token": "[CLS]", "pad_token": "[PAD]"}


def unigram_like():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=["<unk>", "</s>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer, {"eos_token": "</s>", "unk_token": "<unk>"}


def smollm2(path):
    fields = gguf.GGUFReader(path).fields
    read = lambda key: fields[f"tokenizer.{key}"].contents()
    tokens, types = read("ggml.tokens"), read("ggml.token_type")
    merges = [tuple(merge.split(" ")) for merge in read("ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, types) if kind == 3])
    roles = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "chat_template": read("chat_template")}
    return tokenizer, roles


def sha(value):
    return hashlib.sha256(value.encode("utf-8")).hexdigest()


def ids_entry(ids):
    return {"ids": ids} if len(ids) <= 48 else {"count": len(ids), "sha256": sha(",".join(map(str, ids)))}


def case(tokenizer, text, times):
    full = text * times
    ids = tokenizer.encode(full, add_special_tokens=False)
    special = tokenizer.encode(full, add_special_tokens=True)
    at = next((i for i in range(len(special) - len(ids) + 1) if special[i : i + len(ids)] == ids), None)
    assert at is not None
    return {
        "text": text, "times": times, **ids_entry(ids),
        "before": special[:at], "after": special[at + len(ids) :],
        "decodedSha256": sha(tokenizer.decode(ids, skip_special_tokens=True)),
        "decodedWithSpecialSha256": sha(tokenizer.decode(ids, skip_special_tokens=False)),
    }


def code_point_ranges():
    """Runs of code points assigned in Unicode 3.2: newer ones are not in every table of the originals, and four
    changed their category since."""
    ranges = []
    for code in range(0x110000):
        if unicodedata.ucd_3_2_0.category(chr(code)) in ("Cn", "Cs", "Co") or code in (0x166D, 0x1734, 0x1885, 0x1886):
            continue
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return ranges


def code_point_sums(tokenizer):
    """[first, last, start of the sha256 over the ids of a text around each code point] of every run."""
    sums = []
    for first, last in code_point_ranges():
        digest = hashlib.sha256()
        for char in map(chr, range(first, last + 1)):
            ids = tokenizer.encode(f"it{char}th  {char} .{char}", add_special_tokens=False)
            digest.update((",".join(map(str, ids)) + ";").encode())
        sums.append([first, last, digest.hexdigest()[:16]])
    return sums


def golden(tokenizer, per_code_point):
    rng = random.Random(SEED)
    mixed = " ".join(HARD_TEXTS)
    texts = [(text, 1) for text in HARD_TEXTS] + LONG_TEXTS + [(mixed, 100_000 // len(mixed) + 1)]
    size = len(tokenizer)
    random_ids = [[rng.randrange(size) for _ in range(rng.randrange(1, 10))] for _ in range(60)]
    result = {
        "origin": {"script": "lab/golden/tokenizer_ids.py", "seed": SEED, "versions": VERSIONS},
        "vocabSize": size,
        "cases": [case(tokenizer, text, times) for text, times in texts],
        "decodes": [{"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)} for ids in random_ids],
    }
    if per_code_point:
        result["codePoints"] = code_point_sums(tokenizer)
    if tokenizer.chat_template:
        result["chats"] = []
        for chat in CHATS:
            messages = [{"role": role, "content": content} for role, content in chat]
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            ids = tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=False)
            result["chats"].append({"messages": messages, "text": text, "ids": ids})
    return result


def write_golden(name, tokenizer, per_code_point=False):
    path = ROOT / "test/golden/models" / f"tokenizer-{name}.json"
    path.write_text(json.dumps(golden(tokenizer, per_code_point), ensure_ascii=True, separators=(",", ":")) + "\n")
    assert path.stat().st_size < 65536, path


def wrapped(tokenizer, roles):
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **roles)


def main():
    smollm2_path, minilm_path = sys.argv[1:3]
    tiny = {
        "gpt2-like": gpt2_like, "llama3-like": llama3_like, "qwen2-like": qwen2_like, "roberta-like": roberta_like,
        "llama2-like": llama2_like, "pieces-like": pieces_like, "unigram-like": unigram_like,
    }
    for name, build in tiny.items():
        tokenizer, roles = build()
        folder = ROOT / "test/fixtures/tokenizers" / name
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
        (folder / "tokenizer_config.json").write_text(json.dumps(roles, ensure_ascii=False, indent=1) + "\n")
        assert (folder / "tokenizer.json").stat().st_size < 65536
        write_golden(name, wrapped(tokenizer, roles))
    write_golden("smollm2", wrapped(*smollm2(smollm2_path)), per_code_point=True)
    minilm = AutoTokenizer.from_pretrained(minilm_path)
    minilm.backend_tokenizer.no_padding()
    minilm.backend_tokenizer.no_truncation()
    write_golden("minilm", minilm, per_code_point=True)


main()
