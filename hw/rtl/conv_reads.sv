/// The order in which conv_drain reads: by plane of Inputs outputs, but the last `spare`, then by pixel of the tile, then
/// by part of the pixel: RequantizeLanes outputs, with raw Inputs/4.
///
/// With pair each entry holds the pixels of two columns, the last of an odd row one. Where fold leaves Inputs/2 outputs,
/// they are the plane.
/// Latency: the outputs describe the part that step_i is about to take, from the cycle after start_i or step_i.
module conv_reads
  import conv_pkg::*;
#(
    parameter  int unsigned Inputs          = 8,
    parameter  int unsigned Outputs         = 16,
    parameter  int unsigned RequantizeLanes = 8,
    localparam int unsigned Groups          = Outputs / RequantizeLanes,
    localparam int unsigned GroupBits       = Groups > 1 ? $clog2(Groups) : 1,
    localparam int unsigned RawParts        = 4 * RequantizeLanes / Inputs,
    localparam int unsigned RawBits         = RawParts > 1 ? $clog2(RawParts) : 1
) (
    input  logic                  clk_i,
    /// Begin: plan_i is there from the next cycle on.
    input  logic                  start_i,
    input  plan_t                 plan_i,
    input  logic                  step_i,
    output logic  [         11:0] entry_o,
    /// The entry's second column.
    output logic                  second_o,
    /// RequantizeLanes outputs, and with raw Inputs/4 among them.
    output logic  [GroupBits-1:0] group_o,
    output logic  [  RawBits-1:0] raw_part_o,
    output logic                  last_o
);

  localparam int unsigned Planes = Outputs / Inputs;
  localparam int unsigned Parts = Inputs / RequantizeLanes;  // of a pixel
  localparam int unsigned SmallParts = Parts > 1 ? Parts / 2 : 1;  // of a pixel of Inputs/2
  localparam int unsigned PlaneBits = Planes > 1 ? $clog2(Planes) : 1;
  localparam int unsigned SelectBits = $clog2(Planes * 4);

  logic [11:0] entry_q, col_q;
  logic [1:0] part_q, last_part_at;  // at most four parts, conv_drain checks
  logic [PlaneBits-1:0] plane_q, last_plane_at;
  logic second_q, last_part, last_col, last_pixel_of_entry, last_entry, last_plane;
  logic [SelectBits-1:0] select;
  isa_pkg::conv_t conv;
  assign conv = plan_i.conv;

  assign last_col = col_q == (conv.out_cols - 1'b1) >> 1;  // in pairs
  assign last_pixel_of_entry = !conv.pair || second_q || (last_col && conv.out_cols[0]);
  assign last_entry = entry_q == 12'(plan_i.entries - 1'b1);

  always_comb begin
    if (conv.raw) last_part_at = 2'd3;
    else if (Outputs >> conv.fold < Inputs) last_part_at = 2'(SmallParts - 1);
    else last_part_at = 2'(Parts - 1);
  end
  assign last_part = part_q == last_part_at;
  assign last_plane_at = PlaneBits'(((Planes - 1) >> conv.fold) - 32'(conv.spare));
  assign last_plane = plane_q == last_plane_at;

  assign select = SelectBits'(32'(plane_q) * (conv.raw ? 4 : Parts) + 32'(part_q));
  assign entry_o = conv.acc_address + entry_q;
  assign second_o = second_q;
  assign group_o = GroupBits'(conv.raw ? 32'(select) / RawParts : 32'(select));
  assign raw_part_o = RawBits'(32'(select) % RawParts);
  assign last_o = last_part && last_pixel_of_entry && last_entry && last_plane;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      part_q <= '0;
      second_q <= 1'b0;
      entry_q <= '0;
      col_q <= '0;
      plane_q <= '0;
    end else if (step_i) begin
      part_q <= last_part ? '0 : part_q + 1'b1;
      if (last_part) second_q <= !last_pixel_of_entry;
      if (last_part && last_pixel_of_entry) begin
        entry_q <= last_entry ? '0 : entry_q + 1'b1;
        col_q   <= last_col ? '0 : col_q + 1'b1;
        if (last_entry) plane_q <= plane_q + 1'b1;
      end
    end
  end

endmodule : conv_reads
