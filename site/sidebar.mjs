// The order in which the site shows the documents. Each document of docs/ is named here once; a test sees to that.

/** Documents of the site outside docs/: the path in the repository, and the page. */
export const OTHER_PAGES = {
  'README.md': 'index.md',
  'ARCHITECTURE.md': 'architecture.md',
  'CONTRIBUTING.md': 'contributing.md',
  'CHANGELOG.md': 'changelog.md',
  'src/engine/README.md': 'engine.md',
};

/** Groups of the sidebar with the names of their pages. The title of a page is its first heading. */
export const GROUPS = [
  { title: 'Start', pages: ['index', 'quick-start', 'config', 'targets', 'judges', 'models', 'cells'] },
  {
    title: 'Work with a run',
    pages: ['report', 'view', 'labels', 'compare', 'transfer', 'safety-tuning', 'robustness', 'attackers'],
  },
  { title: 'Hand on', pages: ['exports', 'ci', 'serve', 'scale', 'report-json'] },
  { title: 'Concepts', pages: ['method', 'metrics', 'causes', 'unseen', 'language-world', 'paper-map'] },
  {
    title: 'Results',
    pages: ['results', 'benchmark', 'claims', 'ablations', 'search', 'proving-ground', 'performance'],
  },
  { title: 'Trust', pages: ['security', 'exactness', 'devices', 'durability', 'fuzzing'] },
  { title: 'Extend', pages: ['extending', 'engine', 'architecture', 'contributing', 'changelog'] },
];

/** Where the reference is that typedoc writes. */
export const API = 'api';
