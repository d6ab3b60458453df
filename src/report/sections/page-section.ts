import { type Html, html } from '../words/html.ts';

export interface PageSection {
  readonly id: string;
  readonly title: string;
  /** One or two sentences beside the heading that say how to read the section. */
  readonly note: Html | string;
  readonly body: Html;
}

/** A section of the page: heading and note at the side, content beside them. */
export function renderSection({ id, title, note, body }: PageSection): Html {
  return html`<section id="${id}" class="part" aria-labelledby="${id}-title"><header><h2 id="${id}-title">${title}</h2><p>${note}</p></header><div class="content">${body}</div></section>`;
}

export interface TableColumn {
  readonly heading: string;
  readonly isNumber?: boolean;
}

/** A table whose rows become cards on a narrow screen; the first cell of a row is its heading. */
export function dataTable(
  caption: string,
  columns: readonly TableColumn[],
  rows: readonly (readonly (Html | string)[])[],
): Html {
  const classOf = (column: TableColumn | undefined): string => (column?.isNumber === true ? 'number' : 'word');
  const head = columns.map((column) => html`<th scope="col" class="${classOf(column)}">${column.heading}</th>`);
  const body = rows.map(
    ([first, ...cells]) =>
      html`<tr><th scope="row">${first}</th>${cells.map((cell, i) => html`<td class="${classOf(columns[i + 1])}" data-label="${columns[i + 1]?.heading}">${cell}</td>`)}</tr>`,
  );
  return html`<table class="data"><caption>${caption}</caption><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table>`;
}
