/// From a step to its sums in the accumulators: acc[entry][o] = (biases or acc[entry][o]) + sum of w[o][l] * x[l].
///
/// In a step with pair the word is two neighbouring pixels of 4 bits, the entry two sums of 16 bits, the first pixel's
/// in the low half. Each half is added to by itself, modulo 2^16; bias_i then is two biases of 16 bits.
///
/// Latency: the pixel's word is at the array MemoryLatency + 1 cycles after its step, the sums are there ArrayLatency
/// cycles later and are written in the next. A step that reads an entry must come at least 4 cycles after the one that
/// wrote it; one that swaps at least that long after the one before that swapped.
module conv_sums
  import conv_pkg::*;
#(
    parameter  int unsigned Inputs       = 8,
    parameter  int unsigned Outputs      = 16,
    parameter  int unsigned Accumulators = 256,
    parameter  bit          Packed       = 1'b0,
    parameter  int unsigned DspOutputs   = Outputs,
    localparam int unsigned OutputBits   = $clog2(Outputs)
) (
    input  logic                    clk_i,
    input  logic                    rst_ni,
    input  pixel_t                  pixel_i,
    /// The step's word, MemoryLatency cycles later; pixels of 4 bits are its lower half, with pair the upper half, too.
    input  logic   [  Inputs*8-1:0] features_i,
    input  logic                    load_en_i,
    /// The weights are for steps with pair.
    input  logic                    load_pair_i,
    input  logic   [OutputBits-1:0] load_output_i,
    input  logic   [ Inputs*16-1:0] load_weights_i,
    input  logic   [Outputs*32-1:0] bias_i,
    /// bias_i is being copied.
    output logic                    bias_taken_o,
    output logic                    mac_active_o,
    input  logic                    d_en_i,
    input  logic   [          11:0] d_addr_i,
    input  logic                    d_low_i,
    output logic   [Outputs*32-1:0] d_data_o,
    output logic                    range_o,
    output logic   [    IdBits-1:0] range_id_o
);

  localparam int unsigned SumBits = dpu_pkg::SumBits(Inputs);
  localparam int unsigned PairBits = dpu_pkg::PairBits(Inputs);
  localparam int unsigned AtWord = dpu_pkg::MemoryLatency;  // cycles from a pixel's step
  localparam int unsigned AtArray = AtWord + 1;
  localparam int unsigned AtSum = AtArray + dpu_pkg::ArrayLatency(Inputs);
  localparam int unsigned AtRead = AtSum - dpu_pkg::MemoryLatency;
  localparam int unsigned AtWrite = AtSum + 1;

  pixel_t pixel_q[1:AtWrite];
  always_ff @(posedge clk_i) begin
    for (int unsigned n = 1; n <= AtWrite; ++n) begin
      pixel_q[n] <= n == 1 ? pixel_i : pixel_q[n-1];
      if (!rst_ni) pixel_q[n].valid <= 1'b0;
    end
  end

  logic [Inputs*8-1:0] x_q;
  for (genvar l = 0; l < Inputs; ++l) begin : gen_lane
    logic [3:0] first, second;
    assign first  = features_i[4*l+:4];
    assign second = features_i[4*(Inputs+l)+:4];
    always_ff @(posedge clk_i) begin
      if (pixel_q[AtWord].pair) x_q[8*l+:8] <= {second, first};
      else if (pixel_q[AtWord].four) x_q[8*l+:8] <= 8'($signed(first));
      else x_q[8*l+:8] <= features_i[8*l+:8];
    end
  end

  logic [Outputs*SumBits-1:0] sums;
  assign mac_active_o = pixel_q[AtArray].valid;

  mac_array #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .Packed(Packed),
      .DspOutputs(DspOutputs)
  ) i_array (
      .clk_i,
      .load_en_i,
      .load_pair_i,
      .load_output_i,
      .load_weights_i,
      .swap_i(pixel_q[AtArray].valid && pixel_q[AtArray].swap),
      .pair_i(pixel_q[AtArray].pair),
      .x_i(x_q),
      .sum_o(sums)
  );

  logic [Outputs*32-1:0] bias_q, held, total_q;
  assign bias_taken_o = pixel_q[AtSum-2].valid && pixel_q[AtSum-2].take_bias;
  always_ff @(posedge clk_i) if (bias_taken_o) bias_q <= bias_i;

  // One adder for both halves: the bit between them hands a carry on, or with pair what the first sum borrowed.
  logic pair;
  assign pair = pixel_q[AtSum].pair;
  for (genvar o = 0; o < Outputs; ++o) begin : gen_output
    logic [SumBits-1:0] sum;
    logic [31:0] from, added;
    logic borrowed, unused;
    assign from = held[32*o+:32];
    assign sum = sums[SumBits*o+:SumBits];
    assign borrowed = sum[PairBits-1];
    assign added = pair ? {16'($signed(sum[SumBits-1:PairBits])), 16'($signed(sum[PairBits-1:0]))} :
        32'($signed(sum));
    always_ff @(posedge clk_i) begin
      {total_q[32*o+16+:16], unused, total_q[32*o+:16]} <=
          {added[31:16], pair && borrowed, added[15:0]} +
          {from[31:16], !pair || borrowed, from[15:0]};
    end
  end

  // The memory's own range signal would not say whose entry it was.
  always_ff @(posedge clk_i) begin
    range_o <= pixel_q[AtWrite].valid && 32'(pixel_q[AtWrite].entry) >= Accumulators;
    range_id_o <= pixel_q[AtWrite].id;
  end

  dpu_accumulators #(
      .Entries(Accumulators),
      .Outputs(Outputs)
  ) i_accumulators (
      .clk_i,
      .r_en_i  (pixel_q[AtRead].valid && !pixel_q[AtRead].use_bias),
      .r_addr_i(pixel_q[AtRead].entry[11:0]),
      .r_start_i(pixel_q[AtRead].use_bias),
      .start_i(bias_q),
      .r_data_o(held),
      .w_en_i  (pixel_q[AtWrite].valid && !pixel_q[AtWrite].entry[12]),
      .w_addr_i(pixel_q[AtWrite].entry[11:0]),
      .w_data_i(total_q),
      .d_en_i,
      .d_addr_i,
      .d_low_i,
      .d_data_o,
      .range_o ()
  );

endmodule : conv_sums
