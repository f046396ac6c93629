/// POOL, ADD and MULTIPLY: pixels from the feature or output memory, lane by lane, to the output memory.
///
/// One pixel is read a cycle. POOL takes a cycle for each pixel of each window; ADD and MULTIPLY, which do
/// Lanes elements a cycle, max(2, Inputs / Lanes) cycles a pixel. Reading from the output memory waits for
/// its port while a result is written. Results are written in order, each by one access; an instruction is
/// done two cycles after its last write, and the next one is taken then.
/// abort_i makes it as after reset.
/// Cycles from start_i to done_o: 11 more than windows' pixels for POOL; for ADD and MULTIPLY 28 + Inputs /
/// Lanes, and max(2, Inputs / Lanes) for every pixel but one.
module dpu_vector #(
    parameter int unsigned Inputs = 8,
    /// Elements of ADD and MULTIPLY a cycle.
    parameter int unsigned Lanes  = 8
) (
    input logic clk_i,
    input logic rst_ni,

    input  logic                                           start_i,
    input  logic            [isa_pkg::InstructionBits-1:0] instr_i,
    output logic                                           ready_o,
    output logic                                           done_o,
    output logic                                           error_o,
    output isa_pkg::error_e                                error_code_o,
    input  logic                                           abort_i,
    output logic                                           idle_o,
    /// The memories' ports are free: an instruction that was taken waits for it.
    input  logic                                           go_i,

    output logic                            fm_en_o,
    output logic [dpu_pkg::AddressBits-1:0] fm_addr_o,
    output logic [                     1:0] fm_need_o,
    input  logic [            Inputs*8-1:0] fm_data_i,
    input  logic                            fm_range_i,

    output logic                            om_en_o,
    output logic                            om_we_o,
    output logic [dpu_pkg::AddressBits-1:0] om_addr_o,
    output logic [                     1:0] om_need_o,
    output logic [              Inputs-1:0] om_strobe_o,
    output logic [            Inputs*8-1:0] om_wdata_o,
    input  logic [            Inputs*8-1:0] om_rdata_i,
    input  logic                            om_range_i,

    output logic                vector_en_o,
    output logic [         3:0] vector_table_o,
    output logic [Inputs*8-1:0] vector_o,
    input  logic [Inputs*8-1:0] vector_i,
    input  logic                range_vector_i,

    output logic                inner_en_o,
    output logic [         3:0] inner_table_o,
    output logic [ Lanes*8-1:0] inner_o,
    input  logic [Lanes*32-1:0] inner_i,
    input  logic                range_inner_i
);

  import isa_pkg::*;

  typedef enum logic [1:0] {
    StateIdle,
    StateSetup,
    StateRun,
    StateFailed
  } state_e;

  state_e state_q, state_d;
  error_e error_d, error_code_q;
  logic error_q, done_q, load, running;

  logic [InstructionBits-1:0] instr_q;
  pool_t pool;
  add_t add;  // MULTIPLY has the same fields
  vector_pkg::setup_t setup_q;
  logic is_pool_q, illegal;

  assign pool = pool_t'(instr_q);
  assign add = add_t'(instr_q);
  assign illegal = is_pool_q ?
      pool.blocks == 0 || pool.kernel_h == 0 || pool.kernel_w == 0 || pool.stride_h == 0 ||
      pool.stride_w == 0 || pool.out_rows == 0 || pool.out_cols == 0 : add.pixels == 0;

  // Requests. The tag: first and last of a window for POOL; b for ADD and MULTIPLY; the final one of all.
  typedef struct packed {
    logic first_or_b;
    logic last;
    logic is_final;
  } tag_t;

  logic [vector_pkg::SumBits-1:0] pool_address, binary_address;
  logic pool_valid, pool_first, pool_last, pool_final, binary_valid, binary_b, binary_final, taken;
  tag_t pool_tag, binary_tag, tag;
  logic from_output, four;

  assign pool_tag = '{first_or_b: pool_first, last: pool_last, is_final: pool_final};
  assign binary_tag = '{first_or_b: binary_b, last: 1'b0, is_final: binary_final};
  assign from_output = is_pool_q ? pool.from_output : add.from_output && !binary_b;
  assign four = is_pool_q || !binary_b ? pool.features4 : add.b_features4;

  vector_windows u_windows (
      .clk_i,
      .rst_ni   (running),
      .load_i   (load && is_pool_q),
      .pool_i   (pool),
      .valid_o  (pool_valid),
      .ready_i  (taken),
      .address_o(pool_address),
      .first_o  (pool_first),
      .last_o   (pool_last),
      .final_o  (pool_final)
  );

  vector_operands #(
      .Groups(Inputs / Lanes)
  ) u_operands (
      .clk_i,
      .rst_ni   (running),
      .load_i   (load && !is_pool_q),
      .add_i    (add),
      .valid_o  (binary_valid),
      .ready_i  (taken),
      .address_o(binary_address),
      .b_o      (binary_b),
      .final_o  (binary_final)
  );

  logic pixel_valid, feature_error, read_error, om_read, write_error, write;
  logic [dpu_pkg::AddressBits-1:0] om_read_addr, om_write_addr;
  logic [1:0] om_read_need, om_write_need;
  logic [Inputs*8-1:0] pixel;

  vector_read #(
      .Inputs (Inputs),
      .TagBits($bits(tag_t))
  ) u_read (
      .clk_i,
      .rst_ni         (running),
      .valid_i        (pool_valid || binary_valid),
      .ready_o        (taken),
      .address_i      (is_pool_q ? pool_address : binary_address),
      .from_output_i  (from_output),
      .four_i         (four),
      .tag_i          (is_pool_q ? pool_tag : binary_tag),
      .valid_o        (pixel_valid),
      .tag_o          (tag),
      .pixel_o        (pixel),
      .feature_error_o(feature_error),
      .output_error_o (read_error),
      .fm_en_o,
      .fm_addr_o,
      .fm_need_o,
      .fm_data_i,
      .fm_range_i,
      .output_busy_i  (write),
      .om_en_o        (om_read),
      .om_addr_o      (om_read_addr),
      .om_need_o      (om_read_need),
      .om_data_i      (om_rdata_i),
      .om_range_i
  );

  logic best_valid, best_final, y_valid, y_final;
  logic [Inputs*8-1:0] best, y;

  vector_pool #(
      .Inputs(Inputs)
  ) u_pool (
      .clk_i,
      .rst_ni (running),
      .valid_i(pixel_valid && is_pool_q),
      .first_i(tag.first_or_b),
      .last_i (tag.last),
      .final_i(tag.is_final),
      .pixel_i(pixel),
      .valid_o(best_valid),
      .final_o(best_final),
      .best_o (best)
  );

  vector_binary #(
      .Inputs(Inputs),
      .Lanes (Lanes)
  ) u_binary (
      .clk_i,
      .rst_ni (running),
      .setup_i(setup_q),
      .valid_i(pixel_valid && !is_pool_q),
      .b_i    (tag.first_or_b),
      .final_i(tag.is_final),
      .pixel_i(pixel),
      .inner_en_o,
      .inner_o,
      .inner_i,
      .valid_o(y_valid),
      .final_o(y_final),
      .y_o    (y)
  );

  logic written, map_error, inner_read_q;

  vector_write #(
      .Inputs(Inputs)
  ) u_write (
      .clk_i,
      .rst_ni        (running),
      .load_i        (load),
      .address_i     (is_pool_q ? pool.out_address : add.out_address),
      .four_i        (pool.out4),
      .table_i       (pool.use_table),
      .valid_i       (best_valid || y_valid),
      .final_i       (is_pool_q ? best_final : y_final),
      .pixel_i       (is_pool_q ? best : y),
      .done_o        (written),
      .output_error_o(write_error),
      .table_error_o (map_error),
      .vector_en_o,
      .vector_o,
      .vector_i,
      .range_vector_i,
      .om_en_o       (write),
      .om_addr_o     (om_write_addr),
      .om_need_o     (om_write_need),
      .om_strobe_o,
      .om_data_o     (om_wdata_o),
      .om_range_i
  );

  assign vector_table_o = is_pool_q ? pool.table_address : add.map_address;
  assign inner_table_o = add.table_address;
  assign om_en_o = om_read || write;
  assign om_we_o = write;
  assign om_addr_o = write ? om_write_addr : om_read_addr;
  assign om_need_o = write ? om_write_need : om_read_need;

  // Control.
  always_comb begin
    error_d = ErrorNone;
    if (load && illegal) error_d = ErrorIllegalInstruction;
    else if (feature_error) error_d = ErrorFeatureRange;
    else if (map_error || (inner_read_q && range_inner_i)) error_d = ErrorTableRange;
    else if (read_error || write_error) error_d = ErrorOutputRange;
  end

  always_comb begin
    state_d = state_q;
    case (state_q)
      StateIdle: if (start_i) state_d = StateSetup;
      StateSetup: if (go_i) state_d = StateRun;
      StateRun: if (written) state_d = StateIdle;
      default: state_d = StateFailed;
    endcase
    if (error_d != ErrorNone) state_d = StateFailed;
    if (abort_i) state_d = StateIdle;
  end

  assign load = state_q == StateSetup && go_i;
  assign running = rst_ni && !abort_i && (state_q == StateSetup || state_q == StateRun);
  assign ready_o = state_q == StateIdle && !abort_i;
  assign idle_o = state_q == StateIdle || state_q == StateFailed;
  assign done_o = done_q;
  assign error_o = error_q;
  assign error_code_o = error_code_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      instr_q   <= instr_i;
      is_pool_q <= instr_i[3:0] == OpPool;
    end
    if (load) setup_q <= vector_pkg::setup_of(add, add.opcode == OpMultiply);
    error_code_q <= error_d;
    inner_read_q <= running && inner_en_o;
    if (!rst_ni) begin
      state_q <= StateIdle;
      done_q  <= 1'b0;
      error_q <= 1'b0;
    end else begin
      state_q <= state_d;
      done_q  <= state_q == StateRun && written && !abort_i;
      error_q <= error_d != ErrorNone && state_q != StateFailed && !abort_i;
    end
  end

endmodule
