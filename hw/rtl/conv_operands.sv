/// What comes before a CONV's passes: conv_prepare holds the next instruction until the sequencer has taken it, and its
/// weights, biases and scales have begun to come; these work ahead of the sequencer.
///
/// Latencies: those of conv_prepare, conv_weights and conv_parameters.
module conv_operands
  import conv_pkg::*;
#(
    parameter  int unsigned Inputs          = 8,
    parameter  int unsigned Outputs         = 16,
    parameter  int unsigned RequantizeLanes = 8,
    parameter  int unsigned Accumulators    = 256,
    localparam int unsigned Units           = (Inputs + 7) / 8,
    localparam int unsigned OutputBits      = $clog2(Outputs),
    localparam int unsigned Groups          = Outputs / RequantizeLanes,
    localparam int unsigned GroupBits       = Groups > 1 ? $clog2(Groups) : 1
) (
    input  logic                            clk_i,
    input  logic                            rst_ni,
    input  logic                            start_i,
    input  logic   [                 255:0] instr_i,
    output logic                            ready_o,
    // To the sequencer, with the set that the scales go to.
    output plan_t                           plan_o,
    output logic                            available_o,
    input  logic                            take_i,
    output logic   [                   1:0] set_o,
    // Weights.
    output logic                            weights_full_o,
    input  logic                            swap_i,
    output logic                            load_en_o,
    output logic   [        OutputBits-1:0] load_output_o,
    output logic   [         Inputs*16-1:0] load_weights_o,
    output logic                            load_pair_o,
    // Biases.
    output logic                            bias_ready_o,
    input  logic                            bias_claim_i,
    input  logic                            bias_free_i,
    output logic   [        Outputs*32-1:0] bias_o,
    // Scales.
    output logic   [                   3:0] scale_ready_o,
    input  logic   [                   1:0] scale_set_i,
    input  logic   [         GroupBits-1:0] scale_group_i,
    output logic   [RequantizeLanes*32-1:0] scales_o,
    // Weight memory, port B.
    output logic                            wm_en_o,
    output logic   [                  19:0] wm_addr_o,
    output logic   [             Units-1:0] wm_need_o,
    input  logic   [         Inputs*16-1:0] wm_data_i,
    input  logic                            wm_range_i,
    // Parameter memory.
    output logic                            bias_en_o,
    output logic   [                  11:0] bias_addr_o,
    input  logic   [                  31:0] bias_i,
    input  logic                            range_bias_i,
    output logic                            scale_en_o,
    output logic   [                  11:0] scale_addr_o,
    input  logic   [                  31:0] scale_i,
    input  logic                            range_scale_i,
    /// The instruction held is illegal.
    output logic                            illegal_o,
    output logic                            weights_range_o,
    output logic   [            IdBits-1:0] weights_id_o,
    output logic                            bias_range_o,
    output logic   [            IdBits-1:0] bias_id_o,
    output logic                            scale_range_o,
    output logic   [            IdBits-1:0] scale_id_o
);

  plan_t next;
  logic valid, prepared, release_next;
  logic run_taken_q, weights_taken_q, bias_taken_q, take_weights, take_bias;
  logic bias_busy, scale_busy, needs_scales;

  assign plan_o = next;
  assign release_next = valid && run_taken_q && weights_taken_q &&
      (bias_taken_q || !next.conv.first);
  assign take_bias = valid && next.conv.first && !bias_taken_q && !bias_busy;
  assign needs_scales = next.conv.last && !next.conv.raw;
  assign available_o = prepared && !run_taken_q && !(needs_scales && scale_busy);

  conv_prepare #(
      .Inputs(Inputs),
      .Outputs(Outputs),
      .RequantizeLanes(RequantizeLanes),
      .Accumulators(Accumulators)
  ) i_prepare (
      .clk_i,
      .rst_ni,
      .start_i,
      .instr_i,
      .ready_o,
      .release_i(release_next),
      .plan_o(next),
      .valid_o(valid),
      .prepared_o(prepared),
      .illegal_o
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni || release_next) begin
      run_taken_q <= 1'b0;
      weights_taken_q <= 1'b0;
      bias_taken_q <= 1'b0;
    end else begin
      run_taken_q <= run_taken_q || take_i;
      weights_taken_q <= weights_taken_q || take_weights;
      bias_taken_q <= bias_taken_q || take_bias;
    end
  end

  conv_weights #(
      .Inputs (Inputs),
      .Outputs(Outputs)
  ) i_weights (
      .clk_i,
      .rst_ni,
      .valid_i(valid && !weights_taken_q),
      .plan_i(next),
      .take_o(take_weights),
      .full_o(weights_full_o),
      .swap_i,
      .wm_en_o,
      .wm_addr_o,
      .wm_need_o,
      .wm_data_i,
      .wm_range_i,
      .load_en_o,
      .load_output_o,
      .load_weights_o,
      .load_pair_o,
      .range_o(weights_range_o),
      .range_id_o(weights_id_o)
  );

  conv_parameters #(
      .Outputs(Outputs),
      .RequantizeLanes(RequantizeLanes),
      .Early(dpu_pkg::ArrayLatency(Inputs) - 1)
  ) i_parameters (
      .clk_i,
      .rst_ni,
      .bias_start_i(take_bias),
      .bias_plan_i(next),
      .bias_busy_o(bias_busy),
      .bias_free_i,
      .bias_ready_o,
      .bias_claim_i,
      .bias_o,
      .scale_start_i(take_i && needs_scales),
      .scale_plan_i(next),
      .scale_busy_o(scale_busy),
      .scale_set_o(set_o),
      .scale_ready_o,
      .scale_set_i,
      .scale_group_i,
      .scales_o,
      .bias_en_o,
      .bias_addr_o,
      .bias_i,
      .range_bias_i,
      .scale_en_o,
      .scale_addr_o,
      .scale_i,
      .range_scale_i,
      .bias_range_o,
      .bias_range_id_o(bias_id_o),
      .scale_range_o,
      .scale_range_id_o(scale_id_o)
  );

endmodule : conv_operands
