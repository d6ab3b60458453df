// Shows and hides the model-written texts of a report. They come out of the data block only when somebody asks, and
// only as text nodes: nothing that a model wrote is ever read as markup.
'use strict';
(() => {
  const block = document.getElementById('texts');
  const texts = block === null ? [] : JSON.parse(block.textContent);
  const notes = new WeakMap();

  /** Even parts are plain text, odd ones visible escapes of characters that hide or reorder text. */
  function textNodes(parts) {
    return parts.map((part, place) => {
      if (place % 2 === 0) return document.createTextNode(part);
      const escape = document.createElement('span');
      escape.className = 'escape';
      escape.textContent = part;
      return escape;
    });
  }

  function setShown(veil, isShown) {
    const body = veil.querySelector('.veil-body');
    const button = veil.querySelector('.reveal');
    if (isShown === veil.classList.contains('shown')) return;
    if (isShown) {
      notes.set(veil, [...body.childNodes]);
      body.replaceChildren(...textNodes(texts[Number(veil.dataset.text)]));
      body.dir = 'auto';
    } else {
      body.replaceChildren(...notes.get(veil));
      body.removeAttribute('dir');
    }
    veil.classList.toggle('shown', isShown);
    button.textContent = isShown ? 'Hide' : 'Show';
    button.setAttribute('aria-expanded', String(isShown));
    button.setAttribute('aria-label', button.getAttribute('aria-label').replace(/^\S+/, button.textContent));
  }

  const veils = [...document.querySelectorAll('.veil[data-text]')];
  for (const veil of veils) {
    veil.querySelector('.reveal').addEventListener('click', () => setShown(veil, !veil.classList.contains('shown')));
  }

  const all = document.getElementById('reveal-all');
  if (all !== null) {
    const dialog = document.getElementById('confirm');
    const wording = all.textContent;
    let isAllShown = false;
    const setAll = (isShown) => {
      for (const veil of veils) setShown(veil, isShown);
      for (const cluster of document.querySelectorAll('.cluster')) cluster.open = isShown;
      isAllShown = isShown;
      all.textContent = isShown ? 'Hide all texts' : wording;
    };
    all.addEventListener('click', () => (isAllShown ? setAll(false) : dialog.showModal()));
    document.getElementById('confirm-no').addEventListener('click', () => dialog.close());
    document.getElementById('confirm-yes').addEventListener('click', () => {
      dialog.close();
      setAll(true);
    });
  }
})();
