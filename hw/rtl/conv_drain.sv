/// From accumulators to the output memory: for each plane n of Inputs outputs, but the last `spare`, tile pixel p and
/// part g of the pixel,
///
///   y = clamp(rint(float32(acc[p][o]) * scale[o]) + zero, low, high), table[y + 128] with `table`,
///
/// RequantizeLanes outputs o a cycle; with `raw` the int32 acc[p][o] themselves, Inputs/4 a cycle. With `pair` an entry
/// holds the pixels of two columns, the last of an odd row one; with `fold` acc is what conv_fold makes of an entry.
/// Layout: planes and pixels follow one another from out_address on, a pixel being Inputs bytes, half of that with
/// out4 (even lane in the low nibble), and four times that with raw; where `fold` leaves Inputs/2 lanes, half of that.
/// Latency: MemoryLatency + 4 cycles from the entry's address to the write with raw, else RequantizeLatency + 5 and
/// a table's MemoryLatency more. The next start_i may come once busy_o is low again.
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
    /// The lower halves are asked for, in both halves of d_data_i.
    output logic                           d_low_o,
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

  localparam int unsigned RawLanes = Inputs / 4;  // a cycle
  localparam int unsigned RawParts = RequantizeLanes / RawLanes;  // of a group of lanes
  localparam int unsigned RawBits = RawParts > 1 ? $clog2(RawParts) : 1;
  localparam int unsigned Parts = Inputs / RequantizeLanes;  // of a word of results
  localparam int unsigned PartBits = Parts > 1 ? $clog2(Parts) : 1;
  localparam int unsigned AtEntry = dpu_pkg::MemoryLatency;  // cycles from the read
  localparam int unsigned AtSums = AtEntry + 2;
  localparam int unsigned AtRaw = AtSums + 1;
  localparam int unsigned Requantized = AtSums + dpu_pkg::RequantizeLatency;
  localparam int unsigned Mapped = Requantized + dpu_pkg::MemoryLatency;

  if (Inputs % RequantizeLanes != 0 || RequantizeLanes % RawLanes != 0) begin : gen_check
    $fatal(
        1,
        "RequantizeLanes (%0d) must be Inputs (%0d) or a half or a quarter of it.",
        RequantizeLanes,
        Inputs
    );
  end

  /// A read on its way to be a write.
  typedef struct packed {
    logic valid;
    logic last;
    address_t address;
    logic [PartBits-1:0] part;  // of the word to write
    logic [GroupBits-1:0] group;
    logic [RawBits-1:0] raw_part;
  } result_t;

  plan_t job_q;
  isa_pkg::conv_t conv;
  logic [1:0] set_q;
  logic busy_q, reading_q, go, last, second;
  logic [GroupBits-1:0] group;
  logic [RawBits-1:0] raw_part;
  logic [PartBits-1:0] part_q;
  address_t address_q;
  result_t result, results_q[1:Mapped];

  assign conv = job_q.conv;
  assign busy_o = busy_q;
  assign reading_o = reading_q;
  assign plan_o = job_q;

  // Reads.
  assign go = reading_q && (conv.raw || scale_ready_i[set_q]);
  assign d_en_o = go;
  assign d_low_o = conv.pair && !second;

  conv_reads #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .RequantizeLanes(RequantizeLanes)
  ) i_reads (
      .clk_i,
      .start_i,
      .plan_i(job_q),
      .step_i(go),
      .entry_o(d_addr_o),
      .second_o(second),
      .group_o(group),
      .raw_part_o(raw_part),
      .last_o(last)
  );

  assign result = '{
          valid: go,
          last: last,
          address: address_q,
          part: part_q,
          group: group,
          raw_part: raw_part
      };

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      reading_q <= 1'b0;
    end else begin
      if (start_i) busy_q <= 1'b1;
      else if (done_o) busy_q <= 1'b0;
      if (start_i) reading_q <= 1'b1;
      else if (go && last) reading_q <= 1'b0;
    end
  end

  // Words follow one another, whatever pixels their parts belong to.
  always_ff @(posedge clk_i) begin
    if (start_i) begin
      job_q <= plan_i;
      set_q <= set_i;
      address_q <= '{beyond: 1'b0, value: plan_i.conv.out_address};
      part_q <= '0;
    end else if (go) begin
      part_q <= part_q == PartBits'(Parts - 1) ? '0 : part_q + 1'b1;
      if (part_q == PartBits'(Parts - 1) || conv.raw)
        address_q <= advance(address_q, conv.out4 ? 21'd1 : 21'd2);
    end
  end

  always_ff @(posedge clk_i) begin
    for (int unsigned n = 1; n <= Mapped; ++n) begin
      results_q[n] <= n == 1 ? result : results_q[n-1];
      if (!rst_ni) results_q[n].valid <= 1'b0;
    end
    if (conv.raw) results_q[AtRaw+1].valid <= 1'b0;  // written already
  end

  // Sums out of the entry, and their scales.
  logic [RequantizeLanes*32-1:0] sums, scales_q;
  logic [RawLanes*32-1:0] raw_q;
  assign scale_set_o   = set_q;
  assign scale_group_o = results_q[AtSums-1].group;

  conv_fold #(
      .Outputs(Outputs),
      .RequantizeLanes(RequantizeLanes)
  ) i_fold (
      .clk_i,
      .entry_i(d_data_i),
      .select_i(results_q[AtEntry].group),
      .fold_i(conv.fold),
      .pair_i(conv.pair),
      .sums_o(sums)
  );

  always_ff @(posedge clk_i) begin
    scales_q <= scales_i;
    raw_q <= sums[32'(results_q[AtSums].raw_part)*RawLanes*32+:RawLanes*32];
  end

  // Results.
  logic [RequantizeLanes*8-1:0] y, y_q[dpu_pkg::MemoryLatency], mapped;
  for (genvar lane = 0; lane < RequantizeLanes; ++lane) begin : gen_lane
    dpu_requantize i_requantize (
        .clk_i,
        .acc_i(sums[lane*32+:32]),
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
  assign out = conv.raw ? results_q[AtRaw] : results_q[Mapped];
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
