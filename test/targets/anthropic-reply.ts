/** A reply of Anthropic's Messages API. Without a text it has no content, as a refusal has none. */
export function anthropicReply(text: string | undefined, stopReason = 'end_turn', outputTokens = 4) {
  return {
    id: 'msg_1',
    type: 'message',
    role: 'assistant',
    model: 'claude-of-this-test',
    content: text === undefined ? [] : [{ type: 'text', text }],
    stop_reason: stopReason,
    stop_sequence: null,
    usage: { input_tokens: 9, output_tokens: outputTokens },
  };
}
