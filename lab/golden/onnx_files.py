"""Two fixture encoders exported to ONNX files by PyTorch, to prove that foreign ONNX files are run as they are.

Writes test/fixtures/models/onnx-classifier/ (bert-classifier as onnx/model.onnx, the layout of the hub's ONNX copies)
and test/fixtures/models/onnx-encoder/ (bert-encoder as model.onnx). Their golden values are those of the checkpoints
they were exported from. Run after families.py: python lab/golden/onnx_files.py   (in a virtual environment with
torch 2.15.0, transformers 5.23.0, onnx 1.23.2, onnxscript 0.7.2, Python 3.11; nothing random).
"""

import shutil
from pathlib import Path

import onnx
import torch
import transformers as hf

FIXTURES = Path(__file__).parents[2] / "test" / "fixtures" / "models"
LIMIT_BYTES = 128 * 1024


class FirstOutput(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask, token_type_ids):
        result = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        return result[0]


def export(source, target, architecture, output):
    model = FirstOutput(architecture.from_pretrained(FIXTURES / source, attn_implementation="eager").eval())
    # Three tensors, not one thrice: the exporter would take equal objects for one input.
    ids, mask, types = torch.full((2, 5), 7), torch.ones(2, 5, dtype=torch.long), torch.zeros(2, 5, dtype=torch.long)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=32)
    target.parent.mkdir(parents=True, exist_ok=True)
    program = torch.onnx.export(
        model, (ids, mask, types), dynamo=True, input_names=names, output_names=[output],
        dynamic_shapes={name: {0: batch, 1: tokens} for name in names}, external_data=False,
    )  # fmt: skip
    proto = program.model_proto
    proto.graph.ClearField("value_info")
    for node in proto.graph.node:
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    onnx.checker.check_model(proto)
    target.write_bytes(proto.SerializeToString())
    assert target.stat().st_size < LIMIT_BYTES, target.stat().st_size
    print(target.relative_to(FIXTURES), target.stat().st_size, "bytes")


def copy_files(source, target):
    target.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(FIXTURES / source / name, target / name)


def main():
    hf.utils.logging.disable_progress_bar()
    copy_files("bert-classifier", FIXTURES / "onnx-classifier")
    copy_files("bert-encoder", FIXTURES / "onnx-encoder")
    classifier, encoder = hf.BertForSequenceClassification, hf.BertModel
    export("bert-classifier", FIXTURES / "onnx-classifier" / "onnx" / "model.onnx", classifier, "logits")
    export("bert-encoder", FIXTURES / "onnx-encoder" / "model.onnx", encoder, "last_hidden_state")


if __name__ == "__main__":
    main()
