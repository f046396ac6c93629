/// Runs a program: start, end, errors, soft reset.
///
/// Idle until `start_i`; waits until nothing of an earlier run is left (`idle_i`), then `run_o`. The program is done when
/// END was fetched and nothing waits or is under way. The first error (or soft reset) stops all: `run_o` falls, `abort_o`
/// rises until `idle_i`. Only then, and after END only once what was read ahead is back, the core stops being busy, so that
/// no AXI transaction is ever left behind. A soft reset forgets the error.
/// A hash that differs ends the run before it begins. Errors of one cycle: the fetch unit's first, then the engines' in
/// their order, then deadlock.
/// Latency: done_o and failed_o one cycle after `idle_i`, when their cause came before.
module dpu_control
  import isa_pkg::*;
#(
    parameter logic [31:0] ParameterHash = '0
) (
    input  logic                              clk_i,
    input  logic                              rst_ni,
    // registers
    input  logic                              start_i,
    input  logic                              soft_reset_i,
    input  logic           [            31:0] expected_hash_i,
    output logic                              busy_o,
    output logic                              done_o,
    output logic                              failed_o,
    output isa_pkg::error_e                   error_code_o,
    output logic           [            31:0] error_address_o,
    // the rest of the core
    output logic                              run_o,
    output logic                              abort_o,
    input  logic                              idle_i,
    input  logic                              end_i,
    input  logic                              issue_busy_i,
    input  logic                              fetch_error_i,
    input  isa_pkg::error_e                   fetch_code_i,
    input  logic           [            31:0] fetch_address_i,
    input  logic           [             3:0] engine_error_i,
    input  isa_pkg::error_e                   engine_code_i   [4],
    input  logic           [            31:0] engine_address_i[4],
    input  logic                              deadlock_i,
    input  logic           [            31:0] deadlock_address_i
);

  typedef enum logic [2:0] {
    StIdle,
    StWait,
    StRun,
    StFinish,
    StAbort,
    StDrain
  } state_e;

  state_e state_q;
  logic report_q, fail, done;
  error_e code;
  logic [31:0] address;

  always_comb begin
    fail = 1'b1;
    code = ErrorNone;
    address = '0;
    if (fetch_error_i) begin
      code = fetch_code_i;
      address = fetch_address_i;
    end else if (engine_error_i != '0) begin
      for (int e = 3; e >= 0; e--) begin
        if (engine_error_i[e]) begin
          code = engine_code_i[e];
          address = engine_address_i[e];
        end
      end
    end else if (deadlock_i) begin
      code = ErrorDeadlock;
      address = deadlock_address_i;
    end else begin
      fail = 1'b0;
    end
  end

  assign done = end_i && !issue_busy_i;
  assign run_o = state_q == StRun;
  assign abort_o = state_q == StAbort || state_q == StDrain;
  assign busy_o = state_q != StIdle;

  always_ff @(posedge clk_i) begin
    done_o   <= 1'b0;
    failed_o <= 1'b0;
    if (!rst_ni) begin
      state_q <= StIdle;
      report_q <= 1'b0;
      error_code_o <= ErrorNone;
      error_address_o <= '0;
    end else begin
      unique case (state_q)
        StIdle:
        if (start_i) begin
          error_code_o <= ErrorNone;
          error_address_o <= '0;
          if (expected_hash_i != ParameterHash) begin
            error_code_o <= ErrorWrongHardware;
            failed_o <= 1'b1;
          end else begin
            state_q <= StWait;
          end
        end
        StWait: if (idle_i) state_q <= StRun;
        StRun:
        if (fail) begin
          state_q <= StAbort;
          report_q <= 1'b1;
          error_code_o <= code;
          error_address_o <= address;
        end else if (done) begin
          state_q <= StFinish;
        end
        StFinish:
        if (idle_i) begin
          state_q <= StIdle;
          done_o  <= 1'b1;
        end
        StAbort: state_q <= StDrain;
        StDrain:
        if (idle_i) begin
          state_q  <= StIdle;
          failed_o <= report_q;
        end
        default: state_q <= StIdle;
      endcase
      if (soft_reset_i) begin
        done_o <= 1'b0;
        failed_o <= 1'b0;
        report_q <= 1'b0;
        error_code_o <= ErrorNone;
        error_address_o <= '0;
        if (state_q == StRun || state_q == StWait || state_q == StFinish) state_q <= StAbort;
      end
    end
  end

endmodule
