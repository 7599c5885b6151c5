// What the rows of the network's views are called: for the eye, and for the ear.

import { count, number, t } from "./text.js";

export const partName = (row) => (row.part === "stage" ? t("net.stage", { n: row.number }) : t(`net.${row.part}`));

export const shapeText = (shape) => shape.join("×");

/** Where a row's weights lie, as PyTorch names it; null where there are none. */
export function pathOf(row) {
  if (row.type === "pile") return row.names;
  if (row.type === "io" || row.type === "add" || row.part === "stem" || row.part === "head") return null;
  return ["pool", "dropout"].includes(row.kind) ? null : row.type === "layer" ? row.id.split(".").slice(2).join(".") : row.id;
}

/** What a row is called, in words. */
export function rowName(row, network) {
  switch (row.type) {
    case "io": return t(`net.${row.id}`);
    case "stage": return row.part === "stage" ? t("net.stageBlocks", { n: row.number, blocks: row.blocks }) : t(`net.${row.part}`);
    case "pile": return t("net.pile", { kind: kindName(row), n: row.rows.length });
    case "block": return row.stride > 1 ? t("net.halves", { kind: kindName(row) }) : kindName(row);
  }
  return operationNames(row, network).join(" · ");
}

/** An operation, then the norm and the activation that follow it. */
export const operationNames = (row, network) => [operationName(row, network), ...row.layers.slice(1).map((layer) => t(`net.${layer.kind}`))];

export const kindName = (row) => t(`net.${row.kind}`);

function operationName(row, network) {
  const stride = row.stride > 1 ? t("net.stride", { n: row.stride }) : "";
  switch (row.kind) {
    case "conv": return t("net.conv", { kernel: `${row.kernel}×${row.kernel}` }) + stride;
    case "pool": return row.kernel ? t("net.maxpool", { kernel: `${row.kernel}×${row.kernel}` }) + stride : t("net.avgpool");
    case "dropout": return t("net.dropout", { rate: number(network.architecture.dropout ?? 0, 1) });
  }
  return t(`net.${row.kind}`);
}

/** A block or a pile for the ear. */
export function spoken(row) {
  const projection = row.projection
    ? t("spoken.projection", { kernel: `${row.projection.kernel}×${row.projection.kernel}${row.projection.stride > 1 ? ` /${row.projection.stride}` : ""}`, channels: number(row.shape[0]) })
    : t(row.shortcut === "none" ? "spoken.noShortcut" : "spoken.identity");
  const each = row.type === "pile" ? row.rows[0] : row;
  return t(row.type === "pile" ? "spoken.pile" : "spoken.block", {
    name: rowName(row), path: row.names ?? row.id, shortcut: projection, shape: shapeText(row.shape),
    parameters: number(each.parameters), macs: count(each.macs),
  });
}
