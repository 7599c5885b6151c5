// From `GET /architecture` to rows: one row per thing, in the order in which a picture passes.
// No drawing and no words here: `glyphs.js` draws a row, `architecture.js` and `save.js` stack them.

/** Blocks that are alike in everything but their place make one pile from this many on. */
const PILE = 3;

/** The whole network as a list of `io` rows and groups, each group with its own rows. */
export function rowsOf(network, fold) {
  const first = network.stem.layers[0];
  const { channels, size } = network.input ?? { channels: network.architecture.in_channels, size: first.output_shape[1] * (first.stride ?? 1) };
  return [
    { type: "io", id: "input", shape: [channels, size, size] },
    group("stem", network.stem, ops(network.stem.layers, "op")),
    ...network.stages.map((stage, index) => ({
      ...group("stage", stage, fold ? piled(stage.blocks.map(block)) : stage.blocks.map(block)),
      number: index + 1,
      blocks: stage.blocks.length,
    })),
    group("head", network.head, ops(network.head.layers, "op")),
    { type: "io", id: "output", shape: network.head.output_shape },
  ];
}

function group(part, raw, rows) {
  return { type: "stage", part, id: raw.path, shape: raw.output_shape, macs: raw.macs, parameters: raw.parameters, rows };
}

function block(raw) {
  const layers = ops(raw.layers, "layer");
  const branch = raw.layers.filter((layer) => layer.kind === "conv" && !onShortcut(layer));
  const projection = raw.layers.find((layer) => layer.kind === "conv" && onShortcut(layer));
  return {
    type: "block",
    id: raw.path,
    kind: raw.kind,
    shortcut: raw.shortcut,
    shape: raw.output_shape,
    macs: raw.macs,
    parameters: raw.parameters,
    kernels: branch.map((layer) => layer.kernel),
    stride: Math.max(1, ...branch.map((layer) => layer.stride ?? 1)),
    projection: projection ?? null,
    rows: layers,
    likeness: JSON.stringify([raw.kind, raw.shortcut, raw.output_shape, raw.parameters, raw.macs, raw.layers.map((layer) => [layer.kind, layer.kernel, layer.stride, layer.output_shape])]),
  };
}

/** Runs of three or more alike blocks become piles; a block that projects stands alone. */
function piled(blocks) {
  const rows = [];
  for (let from = 0, to; from < blocks.length; from = to) {
    to = from + 1;
    while (to < blocks.length && blocks[to].likeness === blocks[from].likeness) to += 1;
    const run = blocks.slice(from, to);
    rows.push(...(run.length >= PILE && run[0].shortcut !== "projection" ? [pile(run)] : run));
  }
  return rows;
}

function pile(blocks) {
  const last = blocks.at(-1).id.split(".").at(-1);
  return {
    ...blocks[0],
    type: "pile",
    id: `${blocks[0].id}-${last}`,
    names: `${blocks[0].id} … ${last}`,
    macs: total(blocks, "macs"),
    parameters: total(blocks, "parameters"),
    rows: blocks,
  };
}

/** A convolution or an addition takes the norm and the activation that follow it along. */
function ops(layers, type) {
  const rows = [];
  for (const layer of layers) {
    const before = rows.at(-1);
    if (before && ["norm", "activation"].includes(layer.kind) && ["conv", "add"].includes(before.kind)) {
      before.layers.push(layer);
      before.macs += layer.macs;
      before.parameters += layer.parameters;
      continue;
    }
    rows.push({
      type: layer.kind === "add" ? "add" : type,
      id: layer.path,
      kind: layer.kind,
      layers: [layer],
      shape: layer.output_shape,
      macs: layer.macs,
      parameters: layer.parameters,
      kernel: layer.kernel,
      stride: layer.stride,
      onShortcut: onShortcut(layer),
    });
  }
  return rows;
}

const onShortcut = (layer) => layer.path.includes(".downsample");
const total = (rows, figure) => rows.reduce((sum, row) => sum + row[figure], 0);

/** Every block of the network, piles or not. */
export const blocksOf = (network) => network.stages.flatMap((stage) => stage.blocks);

/** Rows with rows inside, one after the other. */
export function* walk(rows) {
  for (const row of rows) {
    yield row;
    yield* walk(row.rows ?? []);
  }
}
