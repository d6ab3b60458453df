/** The shortest config that is valid: everything else has a default. */
export const minimalConfigText = `authorisation: own models on own machine, A. Tester
attacker:
  model: smollm2-135m-instruct
seeds:
  path: seeds.txt
target:
  kind: local
  model: smollm2-135m-instruct
judges:
  training:
    kind: profanity
  evaluation:
    - kind: tox-block
`;
