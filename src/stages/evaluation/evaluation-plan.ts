/** How an attacker is measured. */
export interface EvaluationPlan {
  readonly attacks: number;
  readonly responses: number;
  /** Of the attacker; 1 is the distribution that it was trained to be. */
  readonly temperature: number;
  readonly seed: number;
}
