'use strict';
// Draws the charts from the documents in the page. No library: each chart is an SVG of its own,
// with the scales that it needs.
(() => {
  const WIDE = 960, HIGH = 260, LEFT = 70, RIGHT = 12, TOP = 10, BOTTOM = 34;
  const COLOURS = ['#3b7dd8', '#d9822b', '#2f9e6b', '#b5489a', '#8c6bd1', '#c0392b', '#5f7d8c', '#9a8a1f'];
  const documents = [...document.querySelectorAll('script.document')].map(element => ({
    name: element.dataset.name, root: JSON.parse(element.textContent) }));
  const outliers = JSON.parse(document.getElementById('outliers').textContent);
  const charts = document.getElementById('charts');
  let drawn = 0;

  const node = (name, attributes, parent) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (parent) parent.appendChild(element);
    return element;
  };
  const html = (name, text, parent) => {
    const element = document.createElement(name);
    element.textContent = text;
    parent.appendChild(element);
    return element;
  };
  const time = ns => {
    if (!(ns > 0)) return '0';
    const [value, unit] = ns >= 1e9 ? [ns / 1e9, 's'] : ns >= 1e6 ? [ns / 1e6, 'ms'] : ns >= 1e3 ? [ns / 1e3, 'µs'] : [ns, 'ns'];
    return `${+value.toPrecision(3)} ${unit}`;
  };
  const count = n => n >= 1e9 ? `${+(n / 1e9).toPrecision(3)}G` : n >= 1e6 ? `${+(n / 1e6).toPrecision(3)}M` : n >= 1e3 ? `${+(n / 1e3).toPrecision(3)}k` : `${+n.toPrecision(3)}`;
  const log = (from, to, low, high) => value => low + (Math.log(value) - Math.log(from)) / (Math.log(to) - Math.log(from)) * (high - low);
  const linear = (from, to, low, high) => value => low + (value - from) / (to - from || 1) * (high - low);

  const figure = (kind, title, says, parent) => {
    html('h3', title, parent);
    const box = parent.appendChild(document.createElement('figure'));
    box.dataset.kind = kind;
    html('figcaption', says, box);
    const svg = node('svg', { viewBox: `0 0 ${WIDE} ${HIGH}`, role: 'img', 'aria-label': title });
    box.insertBefore(svg, box.firstChild);
    drawn += 1;
    return [svg, box];
  };
  const decades = (from, to) => {
    const ticks = [];
    for (let e = Math.ceil(Math.log10(from) - 1e-9); e <= Math.log10(to) + 1e-9; e += 1) ticks.push(10 ** e);
    return ticks.length > 1 ? ticks : [from, to];
  };
  const evenly = (from, to, n) => Array.from({ length: n + 1 }, (_, i) => from + (to - from) * i / n);
  const axes = (svg, x, xs, xname, y, ys, yname) => {
    for (const value of ys) {
      node('line', { x1: LEFT, x2: WIDE - RIGHT, y1: y(value), y2: y(value), class: 'grid' }, svg);
      node('text', { x: LEFT - 6, y: y(value) + 4, 'text-anchor': 'end' }, svg).textContent = yname(value);
    }
    for (const value of xs) node('text', { x: x(value), y: HIGH - BOTTOM + 16, 'text-anchor': 'middle' }, svg).textContent = xname(value);
  };
  const path = (svg, points, colour, width) => {
    if (points.length === 0) return;
    const d = points.map(([x, y], i) => `${i ? 'L' : 'M'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');
    node('path', { d, fill: 'none', stroke: colour, 'stroke-width': width || 1.8 }, svg);
  };
  const legend = (box, names) => {
    const list = box.appendChild(document.createElement('div'));
    list.className = 'legend';
    names.forEach(([name, colour]) => {
      const item = list.appendChild(document.createElement('span'));
      item.appendChild(document.createElement('i')).style.background = colour;
      item.appendChild(document.createTextNode(name));
    });
  };

  // The times of a direction that have percentiles, as points.
  const told = way => ['lat_ns', 'clat_ns'].map(name => way && way[name]).find(family => family && family.percentile);
  const curve = family => Object.entries(family.percentile).map(([p, ns]) => [+p, ns]).filter(([p, ns]) => p < 100 && ns > 0);
  const WAYS = ['read', 'write', 'trim', 'delete'];

  const cellStart = (cells, index) => {
    if (index === 0) return cells.first_ns / 2;
    const octave = Math.floor((index - 1) / cells.per_octave);
    return cells.first_ns * 2 ** octave * (1 + (index - 1 - octave * cells.per_octave) / cells.per_octave);
  };

  const heat = (name, root, line, word) => {
    const columns = line[word].cells, cells = root.isotherm.cells, every = line.every_ms / 1e3;
    let low = Infinity, high = 0, most = 0;
    for (const column of columns) for (let i = 0; i < column.length; i += 2) {
      low = Math.min(low, column[i]); high = Math.max(high, column[i]); most = Math.max(most, column[i + 1]);
    }
    if (most === 0) return;
    const [svg] = figure('heat', `${name}: latency over time, ${line.job}, ${word}`,
      `Each column is ${every} s, each cell a latency; the darker, the more requests. A dark stripe is the usual latency, what stands above it is the tail, an empty column is a stall.`, charts);
    const from = cellStart(cells, low), to = cellStart(cells, high + 1);
    const y = log(from, to, HIGH - BOTTOM, TOP), end = columns.length * every, x = linear(0, end, LEFT, WIDE - RIGHT);
    axes(svg, x, evenly(0, end, 8), v => `${+v.toFixed(1)} s`, y, decades(from, to), time);
    columns.forEach((column, at) => {
      for (let i = 0; i < column.length; i += 2) {
        const share = Math.log(1 + column[i + 1]) / Math.log(1 + most);
        const top = y(cellStart(cells, column[i] + 1)), bottom = y(cellStart(cells, column[i]));
        node('rect', { x: x(at * every).toFixed(1), y: top.toFixed(1), width: Math.max(x((at + 1) * every) - x(at * every), 0.5).toFixed(1),
          height: (bottom - top).toFixed(1), style: `fill: rgb(var(--heat1) / ${(0.08 + 0.92 * share).toFixed(2)})` }, svg);
      }
    });
  };

  // The time within which a share of a column's requests were done: the end of its cell.
  const within = (cells, column, share) => {
    let sum = 0, total = 0;
    for (let i = 1; i < column.length; i += 2) total += column[i];
    for (let i = 0; i < column.length; i += 2) {
      sum += column[i + 1];
      if (sum >= total * share) return cellStart(cells, column[i] + 1);
    }
    return 0;
  };

  // Times from the intended start, a line for each run: where there is more than one to be told apart.
  const responses = word => {
    const rows = [];
    for (const { name, root } of documents) for (const line of (root.isotherm || {}).timelines || []) {
      if (!line[word] || !line[word].rt_cells) continue;
      // The last stretch is rarely whole.
      const columns = line[word].rt_cells.slice(0, Math.max(line[word].rt_cells.length - 1, 1)), every = line.every_ms / 1e3;
      const at = share => columns.map((column, i) => [(i + 0.5) * every, within(root.isotherm.cells, column, share)]).filter(([, ns]) => ns > 0);
      rows.push({ label: documents.length > 1 ? name : line.job, p50: at(0.5), p99: at(0.99), end: columns.length * every });
    }
    const shown = rows.filter(row => row.p99.length > 0).slice(0, COLOURS.length);
    if (shown.length === 0) return;
    const all = shown.flatMap(row => [...row.p50, ...row.p99].map(([, ns]) => ns));
    const from = Math.min(...all), to = Math.max(...all) * 1.0001 + 1, end = Math.max(...shown.map(row => row.end));
    const [svg, box] = figure('responses', `Response time over time, ${word}`,
      'From the moment at which a request was to be sent: the thick line is p99 of each stretch of time, the thin one p50. The schedule is the same for all, so that a peak of one line alone is its own.', charts);
    const x = linear(0, end, LEFT, WIDE - RIGHT), y = log(from, to, HIGH - BOTTOM, TOP);
    axes(svg, x, evenly(0, end, 8), v => `${+v.toFixed(1)} s`, y, decades(from, to), time);
    shown.forEach((row, i) => {
      path(svg, row.p99.map(([s, ns]) => [x(s), y(ns)]), COLOURS[i]);
      path(svg, row.p50.map(([s, ns]) => [x(s), y(ns)]), COLOURS[i], 0.8);
    });
    legend(box, shown.map((row, i) => [row.label, COLOURS[i]]));
  };

  // How busy each disk was over time: a row for each disk, a column for each stretch.
  const busy = (name, one) => {
    const rows = one.share.length, columns = Math.max(...one.share.map(row => row.length));
    if (!(rows > 0 && columns > 0)) return;
    const [svg] = figure('busy', `${name}: how busy each disk was${documents.length > 1 ? '' : `, ${one.job}`}`,
      'Each row is a disk, the hottest first, each column a stretch of time; the darker, the more of it the disk has worked. A dark row is a hot or a slow disk, a dark column a burst that all of them felt.', charts);
    const step = Math.max(4, Math.min(16, 360 / rows)), high = TOP + rows * step + BOTTOM;
    svg.setAttribute('viewBox', `0 0 ${WIDE} ${high}`);
    const every = one.every_ms / 1e3, end = columns * every, left = LEFT + 50, x = linear(0, end, left, WIDE - RIGHT);
    const order = one.share.map((_, disk) => disk).sort((a, b) => one.mean[b] - one.mean[a]);
    order.forEach((disk, row) => {
      const top = TOP + row * step;
      // As many names as can be read.
      if (step >= 10 || row % Math.ceil(10 / step) === 0) node('text', { x: left - 6, y: top + step / 2 + 4, 'text-anchor': 'end' }, svg).textContent = one.disks[disk];
      one.share[disk].forEach((share, at) => {
        if (share === null) return;
        const cell = node('rect', { x: x(at * every).toFixed(1), y: top.toFixed(1), width: (x(every) - x(0)).toFixed(2), height: step.toFixed(1),
          style: `fill: rgb(var(--heat1) / ${Math.min(1, share).toFixed(3)})` }, svg);
        node('title', {}, cell).textContent = `${one.disks[disk]}, ${at * every} s: ${Math.round(share * 100)} %`;
      });
    });
    for (const value of evenly(0, end, 8)) node('text', { x: x(value), y: high - BOTTOM + 16, 'text-anchor': 'middle' }, svg).textContent = `${+value.toFixed(1)} s`;
  };

  const rates = (kind, title, says, unit, of) => {
    const rows = [];
    for (const { name, root } of documents) for (const line of (root.isotherm || {}).timelines || []) for (const word of WAYS) {
      if (!line[word]) continue;
      const every = line.every_ms / 1e3;
      // The last stretch is rarely whole.
      const values = of(line[word]).slice(0, Math.max(line[word].ios.length - 1, 1)).map(v => v / every);
      rows.push({ label: `${name}, ${line.job}, ${word}`, values, every });
    }
    if (rows.length === 0) return;
    const shown = rows.slice(0, COLOURS.length);
    const end = Math.max(...shown.map(row => row.values.length * row.every)), most = Math.max(1e-9, ...shown.flatMap(row => row.values));
    const [svg, box] = figure(kind, title, says, charts);
    const x = linear(0, end, LEFT, WIDE - RIGHT), y = linear(0, most * 1.05, HIGH - BOTTOM, TOP);
    axes(svg, x, evenly(0, end, 8), v => `${+v.toFixed(1)} s`, y, evenly(0, most, 4), v => count(v) + unit);
    shown.forEach((row, i) => path(svg, row.values.map((v, at) => [x((at + 0.5) * row.every), y(v)]), COLOURS[i]));
    legend(box, shown.map((row, i) => [row.label, COLOURS[i]]));
  };

  const PERCENTS = [1, 50, 90, 99, 99.9, 99.99];
  const rarity = p => -Math.log10(1 - p / 100);
  const percentiles = () => {
    const rows = [];
    for (const { name, root } of documents) for (const job of root.jobs) for (const word of WAYS) {
      const way = job[word];
      if (!way || !way.total_ios) continue;
      const family = told(way);
      if (family) rows.push([`${name}, ${job.jobname}, ${word}`, curve(family)]);
      if (way.rt_ns && way.rt_ns.percentile) rows.push([`${name}, ${job.jobname}, ${word}, rt`, curve(way.rt_ns)]);
    }
    const shown = rows.filter(([, points]) => points.length > 1).slice(0, COLOURS.length);
    if (shown.length === 0) return;
    const all = shown.flatMap(([, points]) => points.map(([, ns]) => ns));
    const from = Math.min(...all), to = Math.max(...all) * 1.0001 + 1;
    const [svg, box] = figure('percentiles', 'Latency by percentile',
      'How long the slowest requests took: at 99, one of 100 took longer than the line says. A line that climbs late has a short tail; rt counts from the intended start.', charts);
    const x = linear(0, 4, LEFT, WIDE - RIGHT), y = log(from, to, HIGH - BOTTOM, TOP);
    axes(svg, v => x(rarity(v)), PERCENTS, v => `${v}`, y, decades(from, to), time);
    shown.forEach(([, points], i) => path(svg, points.map(([p, ns]) => [x(Math.min(rarity(p), 4)), y(ns)]), COLOURS[i]));
    legend(box, shown.map(([label], i) => [label, COLOURS[i]]));
  };

  // The disks of one document: 8 of 10 in the band, those that stand out as lines with names.
  const disks = box => {
    const number = +box.dataset.document, root = documents[number].root;
    for (const word of WAYS) {
      const rows = root.per_disk.map((disk, index) => ({ index, name: disk.name, family: told(disk[word]) })).filter(row => row.family);
      if (rows.length < 2) continue;
      const lines = rows.map(row => curve(row.family)), keys = lines[0].map(([p]) => p);
      const at = p => lines.map(points => (points.find(([q]) => q === p) || [0, 0])[1]).filter(ns => ns > 0).sort((a, b) => a - b);
      const part = (values, share) => values[Math.round((values.length - 1) * share)];
      const all = lines.flat().map(([, ns]) => ns), from = Math.min(...all), to = Math.max(...all) * 1.0001 + 1;
      const [svg, figureBox] = figure('disks', `${rows.length} disks, ${word}`,
        'Latency by percentile of every disk: the grey band holds 8 of 10 disks, the line in it is the middle one; a coloured line is a disk that is far from the others.', box);
      const x = linear(0, 4, LEFT, WIDE - RIGHT), y = log(from, to, HIGH - BOTTOM, TOP), px = p => x(Math.min(rarity(p), 4));
      axes(svg, v => x(rarity(v)), PERCENTS, v => `${v}`, y, decades(from, to), time);
      const edge = share => keys.map(p => [px(p), y(part(at(p), share))]);
      const area = [...edge(0.1), ...edge(0.9).reverse()].map(([a, b], i) => `${i ? 'L' : 'M'}${a.toFixed(1)} ${b.toFixed(1)}`).join('') + 'Z';
      svg.insertBefore(node('path', { d: area, class: 'band-area' }), svg.firstChild);
      path(svg, edge(0.5), 'currentColor', 1.2);
      const far = outliers[number].filter(one => one.direction === word).slice(0, COLOURS.length);
      far.forEach((one, i) => {
        const row = rows.findIndex(row => row.index === one.index);
        if (row >= 0) path(svg, lines[row].map(([p, ns]) => [px(p), y(ns)]), COLOURS[i]);
      });
      if (far.length) legend(figureBox, far.map((one, i) => [`${one.name} (number ${one.index})`, COLOURS[i]]));
    }
  };

  html('h2', 'Charts', charts);
  WAYS.forEach(responses);
  for (const { name, root } of documents) for (const line of (root.isotherm || {}).timelines || []) for (const word of WAYS) {
    if (line[word] && line[word].cells) heat(name, root, line, word);
  }
  for (const { name, root } of documents) for (const one of (root.isotherm || {}).disk_busy || []) busy(name, one);
  percentiles();
  rates('iops', 'IOPS over time', 'Requests completed in each second: dips are stalls, a fall that stays is a disk or a cache that changed.', '', way => way.ios);
  rates('bandwidth', 'Bandwidth over time', 'Bytes carried in each second.', 'B/s', way => way.bytes);
  document.querySelectorAll('.band').forEach(disks);
  if (drawn === 0) html('p', 'There is nothing to draw: no times with percentiles, and nothing over time.', charts);
  document.body.dataset.drawn = drawn;
})();
