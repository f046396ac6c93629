/// Biases of the next CONV and scales of four, read one entry a cycle from the parameter memory.
///
/// Biases shift into bias_o, output 0 in the low word; with pair a word is twice a bias's low 16 bits. Scales lie in four
/// sets, which take turns (scale_set_o: the one that scale_start_i fills); set and group select RequantizeLanes of them,
/// group g holding outputs g*RequantizeLanes and on.
/// Latency: bias_ready_o is set `Early` cycles before the last entry's address goes out: bias_o is whole
/// MemoryLatency + 1 + Early cycles later. scales_o comes with scale_set_i and scale_group_i, unregistered.
module conv_parameters
  import conv_pkg::*;
#(
    parameter  int unsigned Outputs         = 16,
    parameter  int unsigned RequantizeLanes = 8,
    parameter  int unsigned Early           = 0,
    localparam int unsigned Groups          = Outputs / RequantizeLanes,
    localparam int unsigned GroupBits       = Groups > 1 ? $clog2(Groups) : 1
) (
    input  logic                           clk_i,
    input  logic                           rst_ni,
    input  logic                           bias_start_i,
    input  plan_t                          bias_plan_i,
    /// From bias_start_i to bias_free_i, which says that bias_o has been copied.
    output logic                           bias_busy_o,
    input  logic                           bias_free_i,
    /// Biases wait to be used, until somebody claims them.
    output logic                           bias_ready_o,
    input  logic                           bias_claim_i,
    output logic  [        Outputs*32-1:0] bias_o,
    input  logic                           scale_start_i,
    input  plan_t                          scale_plan_i,
    output logic                           scale_busy_o,
    output logic  [                   1:0] scale_set_o,
    output logic  [                   3:0] scale_ready_o,
    input  logic  [                   1:0] scale_set_i,
    input  logic  [         GroupBits-1:0] scale_group_i,
    output logic  [RequantizeLanes*32-1:0] scales_o,
    output logic                           bias_en_o,
    output logic  [                  11:0] bias_addr_o,
    input  logic  [                  31:0] bias_i,
    input  logic                           range_bias_i,
    output logic                           scale_en_o,
    output logic  [                  11:0] scale_addr_o,
    input  logic  [                  31:0] scale_i,
    input  logic                           range_scale_i,
    output logic                           bias_range_o,
    output logic  [            IdBits-1:0] bias_range_id_o,
    output logic                           scale_range_o,
    output logic  [            IdBits-1:0] scale_range_id_o
);

  localparam int unsigned Latency = dpu_pkg::MemoryLatency;
  localparam int unsigned CountBits = $clog2(Outputs);
  localparam int unsigned ReadyAt = Outputs > Early ? Outputs - 1 - Early : 0;

  // Biases.
  logic bias_busy_q, bias_reading_q, bias_ready_q, bias_beyond_q, bias_pair_q;
  logic [CountBits-1:0] bias_count_q;
  logic [12:0] bias_addr_q;
  logic [Latency-1:0] bias_valid_q;
  logic [Outputs*32-1:0] bias_q;

  assign bias_busy_o = bias_busy_q;
  assign bias_ready_o = bias_ready_q;
  assign bias_en_o = bias_reading_q;
  assign bias_addr_o = bias_addr_q[11:0];
  assign bias_o = bias_q;
  assign bias_range_o = range_bias_i || bias_beyond_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      bias_busy_q <= 1'b0;
      bias_reading_q <= 1'b0;
      bias_ready_q <= 1'b0;
      bias_valid_q <= '0;
    end else begin
      if (bias_start_i) bias_busy_q <= 1'b1;
      else if (bias_free_i) bias_busy_q <= 1'b0;
      if (bias_start_i) bias_reading_q <= 1'b1;
      else if (bias_count_q == CountBits'(Outputs - 1)) bias_reading_q <= 1'b0;
      if (bias_reading_q && bias_count_q == CountBits'(ReadyAt)) bias_ready_q <= 1'b1;
      else if (bias_claim_i) bias_ready_q <= 1'b0;
      bias_valid_q <= {bias_valid_q[Latency-2:0], bias_reading_q};
    end
  end

  always_ff @(posedge clk_i) begin
    bias_count_q <= bias_reading_q ? bias_count_q + 1'b1 : '0;
    bias_addr_q  <= bias_start_i ? 13'(bias_plan_i.conv.param_address) : bias_addr_q + 1'b1;
    if (bias_start_i) bias_range_id_o <= bias_plan_i.id;
    if (bias_start_i) bias_pair_q <= bias_plan_i.conv.pair;
    bias_beyond_q <= bias_reading_q && bias_addr_q[12];
    if (bias_valid_q[Latency-1]) begin
      bias_q <= {bias_pair_q ? bias_i[15:0] : bias_i[31:16], bias_i[15:0], bias_q[Outputs*32-1:32]};
    end
  end

  // Scales.
  logic scale_busy_q, scale_beyond_q;
  logic [1:0] set_q, next_set;
  logic [3:0] scale_ready_q;
  logic [CountBits-1:0] scale_count_q;
  logic [12:0] scale_addr_q;
  typedef struct packed {
    logic valid;
    logic [1:0] set;
    logic [CountBits-1:0] index;
  } entry_t;
  entry_t entry_q[Latency];
  entry_t entry;

  assign entry = entry_q[Latency-1];
  assign scale_busy_o = scale_busy_q;
  assign next_set = set_q + 1'b1;
  assign scale_set_o = next_set;
  assign scale_ready_o = scale_ready_q;
  assign scale_en_o = scale_busy_q;
  assign scale_addr_o = scale_addr_q[11:0];
  assign scale_range_o = range_scale_i || scale_beyond_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      scale_busy_q <= 1'b0;
      scale_ready_q <= '0;
      set_q <= '0;
    end else begin
      if (scale_start_i) scale_busy_q <= 1'b1;
      else if (scale_count_q == CountBits'(Outputs - 1)) scale_busy_q <= 1'b0;
      if (scale_start_i) begin
        set_q <= next_set;
        scale_ready_q[next_set] <= 1'b0;
      end
      if (entry.valid && entry.index == CountBits'(Outputs - 1)) scale_ready_q[entry.set] <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    scale_count_q <= scale_busy_q ? scale_count_q + 1'b1 : '0;
    scale_addr_q  <= scale_start_i ? 13'(scale_plan_i.conv.param_address) : scale_addr_q + 1'b1;
    if (scale_start_i) scale_range_id_o <= scale_plan_i.id;
    scale_beyond_q <= scale_busy_q && scale_addr_q[12];
    for (int unsigned n = 0; n < Latency; ++n) begin
      entry_q[n] <= n == 0 ?
      '{valid: scale_busy_q, set: set_q, index: scale_count_q}
      : entry_q[n-1];
      if (!rst_ni) entry_q[n].valid <= 1'b0;
    end
  end

  // Each lane's scales in a small distributed memory.
  for (genvar lane = 0; lane < RequantizeLanes; ++lane) begin : gen_lane
    logic [31:0] scales_q[4*(1<<GroupBits)];
    logic here;
    logic [GroupBits-1:0] group;
    assign here  = entry.valid && 32'(entry.index) % RequantizeLanes == lane;
    assign group = GroupBits'(32'(entry.index) / RequantizeLanes);
    always_ff @(posedge clk_i) if (here) scales_q[{entry.set, group}] <= scale_i;
    assign scales_o[lane*32+:32] = scales_q[{scale_set_i, scale_group_i}];
  end

endmodule : conv_parameters
