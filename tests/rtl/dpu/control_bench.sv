/// dpu_control with its vectors flat, engine 0 low.
module control_bench
  import isa_pkg::*;
#(
    parameter logic [31:0] ParameterHash = '0
) (
    input  logic         clk_i,
    input  logic         rst_ni,
    input  logic         start_i,
    input  logic         soft_reset_i,
    input  logic [ 31:0] expected_hash_i,
    output logic         busy_o,
    output logic         done_o,
    output logic         failed_o,
    output logic [  3:0] error_code_o,
    output logic [ 31:0] error_address_o,
    output logic         run_o,
    output logic         abort_o,
    input  logic         idle_i,
    input  logic         end_i,
    input  logic         issue_busy_i,
    input  logic         fetch_error_i,
    input  logic [  3:0] fetch_code_i,
    input  logic [ 31:0] fetch_address_i,
    input  logic [  3:0] engine_error_i,
    input  logic [ 15:0] engine_code_i,
    input  logic [127:0] engine_address_i,
    input  logic         deadlock_i,
    input  logic [ 31:0] deadlock_address_i
);

  error_e engine_code[4], error_code;
  logic [31:0] engine_address[4];

  for (genvar e = 0; e < 4; e++) begin : gen_engine
    assign engine_code[e] = error_e'(engine_code_i[e*4+:4]);
    assign engine_address[e] = engine_address_i[e*32+:32];
  end
  assign error_code_o = error_code;

  dpu_control #(
      .ParameterHash(ParameterHash)
  ) control (
      .error_code_o(error_code),
      .fetch_code_i(error_e'(fetch_code_i)),
      .engine_code_i(engine_code),
      .engine_address_i(engine_address),
      .*
  );

endmodule
