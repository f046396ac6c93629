/// The bytes of a row that LOAD_FEATURES reads: first_o <= byte < first_o + bytes_o, the same in all rows; empty_o when
/// its windows meet none of them.
///
/// Windows that touch or overlap (pitch <= lanes) cover the row from byte 0 to the end of the last one. Where gaps lie
/// between them, each window is looked at, one a cycle; else the last one, (cols - 1) * pitch after the first, a bit of
/// pitch a cycle: a DSP would be wasted here. With `upsample` the bytes are those of the row in DDR: pixel n of the
/// doubled row is pixel n / 2.
/// start_i: one cycle; instr_i holds from then on. valid_o: one cycle; the result stays until start_i. Four cycles after
/// start_i, and one more for each bit of the pitch, or each window, after the first.
module feature_extent
  import isa_pkg::load_features_t;
#(
    parameter int unsigned Inputs = 16
) (
    input  logic                  clk_i,
    input  logic                  rst_ni,
    input  logic                  start_i,
    input  load_features_t        instr_i,
    output logic                  valid_o,
    output logic           [ 9:0] first_o,
    output logic           [19:0] bytes_o,
    output logic                  empty_o
);

  typedef enum logic [2:0] {
    Idle,
    Multiply,
    Visit,
    Convert
  } state_e;

  state_e state_q, state_d;
  logic gaps, hit, visited_all;
  logic [21:0] addend_q;  // windows before the last, times a power of 2
  logic [ 9:0] pitch_q;  // bits of the pitch that are still to be multiplied with
  logic signed [23:0] window_q, window_end, width;  // bytes of the row, from byte 0
  logic [11:0] left_q;  // windows to visit after this one
  logic found_q;
  logic [9:0] first_q;
  logic [19:0] end_q, last, doubled_end, bytes_q;

  assign gaps = instr_i.pitch > instr_i.lanes;
  assign width = 24'(instr_i.width);
  assign window_end = window_q + 24'(instr_i.lanes);
  assign hit = window_end > 0 && width != 0 && (!gaps || window_q < width);
  assign visited_all = !gaps || left_q == 0 || window_q >= width;

  always_comb begin
    state_d = state_q;
    unique case (state_q)
      Idle: if (start_i) state_d = Multiply;
      Multiply: if (pitch_q[9:1] == 0) state_d = Visit;
      Visit: if (visited_all) state_d = Convert;
      default: state_d = Idle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) state_q <= Idle;
    else state_q <= state_d;
  end

  always_ff @(posedge clk_i) begin
    unique case (state_q)
      Idle:
      if (start_i) begin
        window_q <= -24'(instr_i.pad_left);
        addend_q <= 22'(instr_i.cols - 1'b1);
        pitch_q  <= gaps ? '0 : instr_i.pitch;
        left_q   <= instr_i.cols - 1'b1;
        found_q  <= 1'b0;
        first_q  <= '0;
      end
      Multiply: begin
        if (pitch_q[0]) window_q <= window_q + 24'(addend_q);
        addend_q <= addend_q << 1;
        pitch_q  <= pitch_q >> 1;
      end
      Visit: begin
        window_q <= window_q + 24'(instr_i.pitch);
        left_q   <= left_q - 1'b1;
        if (hit) begin
          found_q <= 1'b1;
          end_q   <= window_end < width ? 20'(window_end) : instr_i.width;
          if (gaps && !found_q && window_q > 0) first_q <= 10'(window_q);
        end
      end
      default: ;
    endcase
  end

  // The doubled row's last byte, where it lies in DDR. An odd pixel follows the even one that has all bytes.
  localparam int unsigned PixelBits = $clog2(Inputs);
  logic [19:0] pixel;  // of the last byte
  assign last  = end_q - 1'b1;
  assign pixel = instr_i.half ? last >> (PixelBits - 1) : last >> PixelBits;
  always_comb begin
    if (instr_i.half) begin
      doubled_end = (pixel >> 1) << (PixelBits - 1);
      doubled_end += pixel[0] ? 20'(Inputs / 2) : 20'(last[PixelBits-2:0]) + 1'b1;
    end else begin
      doubled_end = (pixel >> 1) << PixelBits;
      doubled_end += pixel[0] ? 20'(Inputs) : 20'(last[PixelBits-1:0]) + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == Convert) bytes_q <= (instr_i.upsample ? doubled_end : end_q) - 20'(first_q);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_o <= 1'b0;
    else valid_o <= state_q == Convert;
  end

  assign first_o = first_q;
  assign bytes_o = bytes_q;
  assign empty_o = !found_q;

endmodule
