import type { Initializer } from '../graph/builder.ts';
import type { Dtype } from '../graph/ops.ts';
import { type Shape, sizeKey } from '../graph/size.ts';
import { ProtobufWriter } from './protobuf-writer.ts';

/** Attribute values by ONNX type; a plain `number` is not offered, so that int and float cannot be confused. */
export type Attribute =
  | { readonly int: number }
  | { readonly float: number }
  | { readonly ints: readonly number[] }
  | { readonly text: string };

/** TensorProto.DataType numbers. */
const DATA_TYPES: Readonly<Record<Dtype, number>> = { float32: 1, int8: 3, int32: 6, int64: 7, float16: 10 };

export function dataTypeNumber(dtype: Dtype): number {
  return DATA_TYPES[dtype];
}

// AttributeProto: name 1, f 2, i 3, s 4, ints 8, type 20 (FLOAT 1, INT 2, STRING 3, INTS 7)
function attributeMessage(name: string, value: Attribute): ProtobufWriter {
  const message = new ProtobufWriter().text(1, name);
  if ('int' in value) return message.int(3, value.int).int(20, 2);
  if ('float' in value) return message.float(2, value.float).int(20, 1);
  if ('text' in value) return message.text(4, value.text).int(20, 3);
  for (const item of value.ints) message.int(8, item);
  return message.int(20, 7);
}

export interface OnnxNode {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes?: Readonly<Record<string, Attribute>>;
  readonly domain?: string;
}

// NodeProto: input 1, output 2, op_type 4, attribute 5, domain 7
export function nodeMessage(node: OnnxNode): ProtobufWriter {
  const message = new ProtobufWriter();
  for (const input of node.inputs) message.text(1, input);
  for (const output of node.outputs) message.text(2, output);
  message.text(4, node.type);
  for (const [name, value] of Object.entries(node.attributes ?? {})) message.message(5, attributeMessage(name, value));
  if (node.domain !== undefined) message.text(7, node.domain);
  return message;
}

// ValueInfoProto: name 1, type 2 > tensor_type 1 > elem_type 1, shape 2 > dim 1 > dim_value 1 | dim_param 2
export function valueInfoMessage(name: string, dtype: Dtype, shape: Shape): ProtobufWriter {
  const dims = new ProtobufWriter();
  for (const size of shape) {
    const dim = new ProtobufWriter();
    if (typeof size === 'number') dim.int(1, size);
    else dim.text(2, sizeKey(size));
    dims.message(1, dim);
  }
  const tensor = new ProtobufWriter().int(1, dataTypeNumber(dtype)).message(2, dims);
  return new ProtobufWriter().text(1, name).message(2, new ProtobufWriter().message(1, tensor));
}

// TensorProto: dims 1, data_type 2, name 8, raw_data 9, external_data 13 (key 1, value 2), data_location 14
export function initializerMessage(initializer: Initializer): ProtobufWriter {
  const { value, name } = initializer;
  const message = new ProtobufWriter();
  for (const size of value.shape) message.int(1, size as number);
  message.int(2, dataTypeNumber(value.dtype)).text(8, name);
  if (initializer.kind === 'inline') {
    const { data } = initializer;
    return message.bytes(9, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  const entries: readonly (readonly [string, string])[] = [
    ['location', initializer.location],
    ['offset', String(initializer.offset)],
    ['length', String(initializer.byteLength)],
  ];
  for (const [key, text] of entries) message.message(13, new ProtobufWriter().text(1, key).text(2, text));
  return message.int(14, 1);
}
