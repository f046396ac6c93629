/// From accumulators to the output memory: for each plane n of Inputs outputs, but the last `spare`, tile pixel p and
/// part g of the pixel,
///
///   y = clamp(rint(float32(acc[p][o]) * scale[o]) + zero, low, high), table[y + 128] with `table`,
///
/// RequantizeLanes outputs o a cycle; with `raw` the int32 acc[p][o] themselves, Inputs/4 a cycle.
/// Layout: planes and pixels follow one another from out_address on, a pixel being Inputs bytes, half of that with
/// out4 (even lane in the low nibble), and four times that with raw.
/// Latency: MemoryLatency + 2 cycles from the entry's address to the write with raw, else RequantizeLatency and a
/// table's MemoryLatency more. The next start_i may come once busy_o is low again.
module conv_drain
  import conv_pkg::*;
#(
    parameter  int unsigned Inputs          = 8,
    parameter  int unsigned Outputs         = 16,
    parameter  int unsigned RequantizeLanes = 8,
    localparam int unsigned Groups          = Outputs / RequantizeLanes,
    localparam int unsigned GroupBits       = Groups > 1 ? $clog2(Groups) : 1
) (
    input  logic                           clk_i,
    input  logic                           rst_ni,
    input  logic                           start_i,
    input  plan_t                          plan_i,
    /// Set of scales that belongs to plan_i.
    input  logic  [                   1:0] set_i,
    output logic                           busy_o,
    /// Entries are still to be read.
    output logic                           reading_o,
    output plan_t                          plan_o,
    /// Range errors of the last write have come.
    output logic                           done_o,
    input  logic  [                   3:0] scale_ready_i,
    output logic  [                   1:0] scale_set_o,
    output logic  [         GroupBits-1:0] scale_group_o,
    input  logic  [RequantizeLanes*32-1:0] scales_i,
    output logic                           d_en_o,
    output logic  [                  11:0] d_addr_o,
    input  logic  [        Outputs*32-1:0] d_data_i,
    output logic                           drain_en_o,
    output logic  [                   3:0] drain_table_o,
    output logic  [ RequantizeLanes*8-1:0] drain_data_o,
    input  logic  [ RequantizeLanes*8-1:0] drain_data_i,
    output logic                           om_en_o,
    output logic  [                  19:0] om_addr_o,
    output logic  [                   1:0] om_need_o,
    output logic  [            Inputs-1:0] om_strobe_o,
    output logic  [          Inputs*8-1:0] om_data_o,
    input  logic                           om_range_i,
    output logic                           range_o
);

  localparam int unsigned RawLanes = Inputs / 4;
  localparam int unsigned Planes = Outputs / Inputs;
  localparam int unsigned Parts = Inputs / RequantizeLanes;  // of a pixel
  localparam int unsigned MostParts = Parts > 4 ? Parts : 4;
  localparam int unsigned PartBits = $clog2(MostParts);
  localparam int unsigned SelectBits = $clog2(Planes * MostParts);
  localparam int unsigned RawAt = dpu_pkg::MemoryLatency + 1;  // cycles from the read
  localparam int unsigned Requantized = RawAt + dpu_pkg::RequantizeLatency;
  localparam int unsigned Mapped = Requantized + dpu_pkg::MemoryLatency;

  if (Inputs % RequantizeLanes != 0 || RequantizeLanes % 2 != 0) begin : gen_check
    $fatal(
        1, "RequantizeLanes (%0d) must be even and divide Inputs (%0d).", RequantizeLanes, Inputs
    );
  end

  /// A read on its way to be a write.
  typedef struct packed {
    logic valid;
    logic last;
    address_t address;
    logic [PartBits-1:0] part;
    logic [SelectBits-1:0] select;  // lanes, in parts of all outputs
  } result_t;

  plan_t job_q;
  isa_pkg::conv_t conv;
  logic [1:0] set_q;
  logic busy_q, reading_q, go, last_part, last_pixel, last_plane;
  logic [PartBits-1:0] part_q;
  logic [11:0] pixel_q;
  logic [SelectBits-1:0] plane_q;
  address_t address_q;
  result_t result, results_q[1:Mapped];

  assign conv = job_q.conv;
  assign busy_o = busy_q;
  assign reading_o = reading_q;
  assign plan_o = job_q;

  // Reads.
  assign go = reading_q && (conv.raw || scale_ready_i[set_q]);
  assign d_en_o = go;
  assign d_addr_o = conv.acc_address + pixel_q;
  assign last_part = part_q == (conv.raw ? PartBits'(3) : PartBits'(Parts - 1));
  assign last_pixel = pixel_q == 12'(job_q.pixels - 1'b1);
  assign last_plane = plane_q == SelectBits'(Planes - 1 - 32'(conv.spare));
  assign result = '{
          valid: go,
          last: last_part && last_pixel && last_plane,
          address: address_q,
          part: part_q,
          select: SelectBits'(32'(plane_q) * (conv.raw ? 4 : Parts) + 32'(part_q))
      };

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      reading_q <= 1'b0;
    end else begin
      if (start_i) busy_q <= 1'b1;
      else if (done_o) busy_q <= 1'b0;
      if (start_i) reading_q <= 1'b1;
      else if (go && result.last) reading_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      job_q <= plan_i;
      set_q <= set_i;
      address_q <= '{beyond: 1'b0, value: plan_i.conv.out_address};
      part_q <= '0;
      pixel_q <= '0;
      plane_q <= '0;
    end else if (go) begin
      part_q <= last_part ? '0 : part_q + 1'b1;
      if (last_part) pixel_q <= last_pixel ? '0 : pixel_q + 1'b1;
      if (last_part && last_pixel) plane_q <= plane_q + 1'b1;
      if (last_part || conv.raw) address_q <= advance(address_q, conv.out4 ? 21'd1 : 21'd2);
    end
  end

  always_ff @(posedge clk_i) begin
    for (int unsigned n = 1; n <= Mapped; ++n) begin
      results_q[n] <= n == 1 ? result : results_q[n-1];
      if (!rst_ni) results_q[n].valid <= 1'b0;
    end
    if (conv.raw) results_q[RawAt+1].valid <= 1'b0;  // written already
  end

  // Lanes out of the entry.
  logic [SelectBits-1:0] select;
  logic [RequantizeLanes*32-1:0] acc_q, scales_q;
  logic [Inputs*8-1:0] raw_q;
  assign select = results_q[dpu_pkg::MemoryLatency].select;
  assign scale_set_o = set_q;
  assign scale_group_o = GroupBits'(select);

  always_ff @(posedge clk_i) begin
    acc_q <= d_data_i[32'(scale_group_o)*RequantizeLanes*32+:RequantizeLanes*32];
    raw_q <= d_data_i[32'(select)*RawLanes*32+:RawLanes*32];
    scales_q <= scales_i;
  end

  // Results.
  logic [RequantizeLanes*8-1:0] y, y_q[dpu_pkg::MemoryLatency], mapped;
  for (genvar lane = 0; lane < RequantizeLanes; ++lane) begin : gen_lane
    dpu_requantize i_requantize (
        .clk_i,
        .acc_i(acc_q[lane*32+:32]),
        .scale_i(scales_q[lane*32+:32]),
        .zero_i(conv.zero),
        .low_i(conv.low),
        .high_i(conv.high),
        .result_o(y[lane*8+:8])
    );
  end

  assign drain_en_o = results_q[Requantized].valid && conv.use_table && !conv.raw;
  assign drain_table_o = conv.table_address;
  assign drain_data_o = y;
  assign mapped = conv.use_table ? drain_data_i : y_q[dpu_pkg::MemoryLatency-1];

  always_ff @(posedge clk_i) begin
    for (int unsigned n = 0; n < dpu_pkg::MemoryLatency; ++n) y_q[n] <= n == 0 ? y : y_q[n-1];
  end

  // Writes.
  result_t out;
  logic [RequantizeLanes*4-1:0] nibbles;
  logic [Inputs-1:0] strobe;
  logic beyond_q, range_q;
  logic [2:0] last_q;
  assign out = conv.raw ? results_q[RawAt] : results_q[Mapped];
  for (genvar lane = 0; lane < RequantizeLanes; ++lane) begin : gen_nibble
    assign nibbles[lane*4+:4] = mapped[lane*8+:4];
  end
  always_comb begin
    if (conv.raw) strobe = '1;
    else if (conv.out4)
      strobe = Inputs'({RequantizeLanes / 2{1'b1}}) << (32'(out.part) * RequantizeLanes / 2);
    else strobe = Inputs'({RequantizeLanes{1'b1}}) << (32'(out.part) * RequantizeLanes);
  end

  always_ff @(posedge clk_i) begin
    om_en_o <= out.valid && rst_ni;
    om_addr_o <= out.address.value;
    om_strobe_o <= strobe;
    om_need_o <= {|strobe[Inputs-1:Inputs/2], |strobe[Inputs/2-1:0]};
    if (conv.raw) om_data_o <= raw_q;
    else if (conv.out4) om_data_o <= {2 * Parts{nibbles}};
    else om_data_o <= {Parts{mapped}};
    beyond_q <= out.valid && out.address.beyond;
    range_q  <= om_en_o && beyond_q;
    last_q   <= rst_ni ? {last_q[1:0], out.valid && out.last} : '0;
  end

  assign range_o = om_range_i || range_q;
  assign done_o  = last_q[2];

endmodule : conv_drain
